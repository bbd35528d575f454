import { createFlow, deleteFlow, getFlow, listFlows, putFlow, updateFlow } from './flows.ts';
import { type Answer, type Asked, Refusal } from './http.ts';
import { createKey, deleteKey, listKeys } from './keys.ts';
import { runFlow } from './runs.ts';
import { autoLogin, login, logout, refresh } from './sessions.ts';
import { createUser, deleteUser, listUsers, updateUser, whoAmI } from './users.ts';
import type { World } from './world.ts';

type Handler = (world: World, asked: Asked) => Answer | Promise<Answer>;
type Route = { method: string; path: RegExp; handler: Handler };

const ROUTES: Route[] = [
  route('GET', '/health', () => ({ status: 200, body: { status: 'ok' } })),
  route('GET', '/health_check', checkHealth),
  route('GET', '/api/v1/version', showVersion),
  route('POST', '/api/v1/login', login),
  route('POST', '/api/v1/refresh', refresh),
  route('POST', '/api/v1/logout', logout),
  route('GET', '/api/v1/auto_login', autoLogin),
  route('POST', '/api/v1/users/', createUser),
  route('GET', '/api/v1/users/', listUsers),
  route('GET', '/api/v1/users/whoami', whoAmI),
  route('PATCH', '/api/v1/users/{id}', updateUser),
  route('DELETE', '/api/v1/users/{id}', deleteUser),
  route('POST', '/api/v1/api_key/', createKey),
  route('GET', '/api/v1/api_key/', listKeys),
  route('DELETE', '/api/v1/api_key/{id}', deleteKey),
  route('GET', '/api/v1/flows/', listFlows),
  route('POST', '/api/v1/flows/', createFlow),
  route('GET', '/api/v1/flows/{id}', getFlow),
  route('PATCH', '/api/v1/flows/{id}', updateFlow),
  route('PUT', '/api/v1/flows/{id}', putFlow),
  route('DELETE', '/api/v1/flows/{id}', deleteFlow),
  route('POST', '/api/v1/run/{id}', runFlow),
];

const PAGE =
  '<!doctype html>\n<html lang="en"><head><title>Langflow</title></head><body><div id="root"></div></body></html>';

/** What Langflow answers, whatever befalls it on the way. */
export async function answerOf(world: World, asked: Asked): Promise<Answer> {
  try {
    return await dispatch(world, asked);
  } catch (error) {
    if (!(error instanceof Refusal)) return { status: 500, body: { message: (error as Error).message } };
    const { status, detail, headers } = error;
    return status === 404 && hidesNotFound(world, asked) ? page() : { status, headers, body: { detail } };
  }
}

function dispatch(world: World, asked: Asked): Answer | Promise<Answer> {
  const found = routesOf(world, asked.path).find(({ method }) => method === asked.method);
  if (!found) return unmatched(world, asked);
  return found.handler(world, { ...asked, param: decodeURIComponent(found.path.exec(asked.path)?.[1] ?? '') });
}

/** The frontend has what no route has, and it is only for reading. Without it the router looks once more, for the path with another end. */
function unmatched(world: World, asked: Asked): Answer {
  const reads = asked.method === 'GET' || asked.method === 'HEAD';
  if (world.switches.frontend && reads && asked.path === '/') return page();
  if (world.switches.frontend) throw reads ? new Refusal(404, 'Not Found') : new Refusal(405, 'Method Not Allowed');
  const methods = routesOf(world, asked.path).map(({ method }) => method);
  if (methods.length > 0) throw new Refusal(405, 'Method Not Allowed', { allow: methods.join(', ') });
  const other = asked.path.endsWith('/') ? asked.path.slice(0, -1) : `${asked.path}/`;
  if (routesOf(world, other).length === 0) throw new Refusal(404, 'Not Found');
  const query = asked.query.size > 0 ? `?${asked.query}` : '';
  return { status: 307, headers: { location: `http://${asked.headers.host}${other}${query}` } };
}

function routesOf({ switches }: World, path: string): Route[] {
  return ROUTES.filter(
    (candidate) => candidate.path.test(path) && (candidate.method !== 'PUT' || switches.upsertsFlows),
  );
}

/** Since #11760 it is true of the frontend's own paths only. */
function hidesNotFound({ switches }: World, { path }: Asked): boolean {
  return switches.frontend && (switches.notFound === 'page' || !path.startsWith('/api'));
}

function page(): Answer {
  return { status: 200, headers: { 'content-type': 'text/html; charset=utf-8' }, body: PAGE };
}

function checkHealth({ switches }: World): Answer {
  if (switches.healthy) return { status: 200, body: { status: 'ok', chat: 'ok', db: 'ok' } };
  const bad = 'error check the server logs';
  throw new Refusal(500, { status: 'nok', chat: bad, db: bad });
}

function showVersion({ switches }: World): Answer {
  return { status: 200, body: { version: switches.release, main_version: switches.release, package: 'Langflow' } };
}

function route(method: string, template: string, handler: Handler): Route {
  return { method, path: new RegExp(`^${template.replace('{id}', '([^/]+)')}$`), handler };
}
