import { decodeJwt } from 'jose';
import { pointer } from '../../base/json-pointer.ts';
import type { Egress } from '../../egress/egress.ts';
import { EgressError } from '../../egress/egress-error.ts';
import type { EgressInit } from '../../egress/request.ts';
import { type FlowEvent, flowEvents } from './flow-events.ts';
import { type LangflowAccess, LangflowError } from './langflow-error.ts';

/** What proves who calls. The password goes by Langflow's login form, a refresh token by its cookie: it takes neither otherwise. */
export type LangflowCaller =
  | { admin: string }
  | { key: string }
  | { bearer: string }
  | { refresh: string }
  | { nobody: true };

export type LangflowUser = { id: string; username: string; active: boolean };
/** Times in ms since the epoch; `expiresAt` is the token's own `exp`: Langflow says no expires_in. */
export type LangflowTokens = { accessToken: string; refreshToken: string; obtainedAt: number; expiresAt: number };
export type FlowRun = {
  inputValue: string;
  inputType: 'chat' | 'text' | 'any';
  outputType: 'chat' | 'text' | 'any' | 'debug';
  outputComponent: string;
  tweaks: Record<string, unknown>;
  sessionId: string;
};
export type LangflowHealth = { working: boolean; version: string };
/** JSON of Langflow, whose shape differs between versions: read by pointers. */
export type LangflowDocument = Record<string, unknown>;

type Request = Pick<EgressInit, 'method' | 'body' | 'timeoutMs' | 'maxBodyBytes' | 'signal'> & {
  headers?: Record<string, string>;
};

const MEGABYTE = 1024 * 1024;
const USERS_A_PAGE = 100;
/** Of a Langflow with a hundred thousand users. */
const MOST_PAGES = 1_000;
/** The longest of Langflow's own limits on a run (`worker_timeout`). */
const IDLE_MS = 300_000;

/**
 * The HTTP API of Langflow 1.0 to 1.13. Slashes at the ends of paths matter: with its web pages mounted it answers the other spelling with 404 or
 * 405, without them with a redirect. Every method fails with LangflowError, or ADDRESS_FORBIDDEN.
 */
export class Langflow {
  readonly #baseUrl: string;
  readonly #door: Pick<Egress, 'fetch' | 'stream'>;

  /** @param baseUrl origin and path, without `/` at the end */
  constructor(baseUrl: string, door: Pick<Egress, 'fetch' | 'stream'>) {
    this.#baseUrl = baseUrl;
    this.#door = door;
  }

  /** The new user's id. Refused with status 400 where the name is taken. */
  async createUser(admin: string, username: string, password: string): Promise<string> {
    const user = await this.#call('/api/v1/users/', { admin }, json('POST', { username, password }));
    return id(user);
  }

  /** By exact name; Langflow has no search before 1.8. */
  async findUser(admin: string, username: string): Promise<LangflowUser | null> {
    for (let page = 0; page < MOST_PAGES; page++) {
      const query = `?skip=${page * USERS_A_PAGE}&limit=${USERS_A_PAGE}`;
      const users = pointer(await this.#call(`/api/v1/users/${query}`, { admin }), '/users');
      if (!Array.isArray(users) || users.length === 0) return null;
      const found = users.find((user) => pointer(user, '/username') === username);
      if (found) return { id: id(found), username, active: pointer(found, '/is_active') === true };
    }
    return null;
  }

  async changeUser(admin: string, id: string, changes: { password?: string; active?: boolean }): Promise<void> {
    const body = { ...definedOf({ password: changes.password, is_active: changes.active }) };
    await this.#call(`/api/v1/users/${id}`, { admin }, json('PATCH', body));
  }

  /** Refused with status 404 where there is none. */
  async deleteUser(admin: string, id: string): Promise<void> {
    await this.#call(`/api/v1/users/${id}`, { admin }, { method: 'DELETE' });
  }

  /** Refused with 401 where the password is wrong, 400 or 401 where the user is not active, 429 where there were too many logins from here. */
  async logIn(username: string, password: string): Promise<LangflowTokens> {
    const body = new URLSearchParams({ username, password }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return tokensOf(await this.#call('/api/v1/login', { nobody: true }, { method: 'POST', body, headers }));
  }

  /** Refused with 401 where the refresh token is no longer taken. */
  async refresh(refreshToken: string): Promise<LangflowTokens> {
    return tokensOf(await this.#call('/api/v1/refresh', { refresh: refreshToken }, { method: 'POST' }));
  }

  /** The user that a key or token is of. */
  async whoAmI(caller: LangflowCaller): Promise<string> {
    return id(await this.#call('/api/v1/users/whoami', caller));
  }

  /** A new key of the caller. */
  async createKey(accessToken: string, name: string): Promise<string> {
    return text(await this.#call('/api/v1/api_key/', { bearer: accessToken }, json('POST', { name })), '/api_key');
  }

  /** Ids of the caller's keys of that name. */
  async keysNamed(accessToken: string, name: string): Promise<string[]> {
    const keys = pointer(await this.#call('/api/v1/api_key/', { bearer: accessToken }), '/api_keys');
    const named = Array.isArray(keys) ? keys.filter((key) => pointer(key, '/name') === name) : [];
    return named.map(id);
  }

  async deleteKey(accessToken: string, id: string): Promise<void> {
    await this.#call(`/api/v1/api_key/${id}`, { bearer: accessToken }, { method: 'DELETE' });
  }

  /** All flows of the key's user. Before 1.1 they come with their data and with examples. */
  async listFlows(key: string, signal: AbortSignal): Promise<LangflowDocument[]> {
    const query = '?get_all=true&header_flows=true&remove_example_flows=true';
    const flows = await this.#call(`/api/v1/flows/${query}`, { key }, { maxBodyBytes: 32 * MEGABYTE, signal });
    if (!Array.isArray(flows)) throw new LangflowError('not_json', 'user', { status: 200 });
    return flows as LangflowDocument[];
  }

  async createFlow(key: string, flow: LangflowDocument, signal: AbortSignal): Promise<LangflowDocument> {
    const request = { ...json('POST', flow), maxBodyBytes: 8 * MEGABYTE, signal };
    return document(await this.#call('/api/v1/flows/', { key }, request));
  }

  async getFlow(key: string, id: string, signal: AbortSignal): Promise<LangflowDocument> {
    return document(await this.#call(`/api/v1/flows/${id}`, { key }, { maxBodyBytes: 8 * MEGABYTE, signal }));
  }

  async run(key: string, id: string, run: FlowRun, signal: AbortSignal): Promise<LangflowDocument> {
    const limits = { timeoutMs: IDLE_MS, maxBodyBytes: 8 * MEGABYTE, signal };
    return document(
      await this.#call(`/api/v1/run/${id}?stream=false`, { key }, { ...json('POST', runBody(run)), ...limits }),
    );
  }

  /** Answers when the head of the answer is there; the events are read as they come. */
  async streamRun(key: string, id: string, run: FlowRun, signal: AbortSignal): Promise<AsyncIterable<FlowEvent>> {
    const { headers, ...request } = json('POST', runBody(run));
    try {
      const answer = await this.#door.stream(`${this.#baseUrl}/api/v1/run/${id}?stream=true`, {
        ...request,
        headers: { ...headers, 'x-api-key': key, accept: 'text/event-stream, application/json' },
        ...{ signal, idleMs: IDLE_MS, maxBodyBytes: 64 * MEGABYTE },
      });
      if (answer.status < 300) return flowEvents(readable(answer.body));
      throw refusal(answer.status, answer.headers['retry-after'], await beginningOf(answer.body), 'user');
    } catch (error) {
      throw unreachable(error, 'user');
    }
  }

  /** `/health` answers as soon as it listens; `/health_check`, where it is there, looks at the database. */
  async health(timeoutMs: number): Promise<LangflowHealth> {
    const nobody = { nobody: true as const };
    const limit = { signal: AbortSignal.timeout(timeoutMs), timeoutMs };
    const version = this.#call('/api/v1/version', nobody, limit).then(
      (answer) => text(answer, '/version'),
      () => '',
    );
    const working = await this.#call('/health_check', nobody, limit).then(
      () => true,
      async (error) => {
        if (!(error instanceof LangflowError) || error.failure === 'unreachable') throw error;
        // 500 says which part is not well; what is beyond it comes from a proxy.
        if (error.status === 500) return false;
        if (error.status > 500) throw error;
        await this.#call('/health', nobody, limit);
        return true;
      },
    );
    const said = await version;
    return { working, version: /^[\w.+-]{1,40}$/.test(said) ? said : '' };
  }

  async #call(path: string, caller: LangflowCaller, request: Request = {}): Promise<unknown> {
    const access = accessOf(caller);
    try {
      const headers = { accept: 'application/json', ...request.headers, ...proofOf(caller) };
      const response = await this.#door.fetch(`${this.#baseUrl}${path}`, { ...request, headers });
      const body = await response.text();
      if (!response.ok) throw refusal(response.status, response.headers.get('retry-after'), body, access);
      return parsed(response, body, access);
    } catch (error) {
      throw unreachable(error, access);
    }
  }
}

function unreachable(error: unknown, access: LangflowAccess): unknown {
  return error instanceof EgressError ? new LangflowError('unreachable', access, { cause: error }) : error;
}

function parsed(response: Response, body: string, access: LangflowAccess): unknown {
  const notJson = () => new LangflowError('not_json', access, { status: response.status });
  if (!/\bjson\b/i.test(response.headers.get('content-type') ?? '')) throw notJson();
  try {
    return JSON.parse(body);
  } catch {
    throw notJson();
  }
}

async function* readable(body: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  try {
    yield* body;
  } catch (error) {
    throw unreachable(error, 'user');
  }
}

/** Of an answer that says no: no more than its words. */
async function beginningOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) {
    chunks.push(chunk);
    if (chunks.reduce((bytes, { length }) => bytes + length, 0) > MEGABYTE) break;
  }
  return Buffer.concat(chunks).toString();
}

function refusal(
  status: number,
  retryAfter: string | null | undefined,
  body: string,
  access: LangflowAccess,
): LangflowError {
  if (status >= 300 && status < 400) return new LangflowError('redirected', access, { status });
  const retryAfterS = Number(retryAfter || Number.NaN);
  return new LangflowError('refused', access, {
    ...{ status, ...told(body) },
    retryAfterMs: Number.isFinite(retryAfterS) ? Math.min(Math.max(retryAfterS, 0), 3_600) * 1000 : undefined,
  });
}

/** Langflow's four ways to say what is wrong: `detail` as text, as an object or as a list of fields, and `message`. */
function told(body: string): { said: string; fields: string[] } {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    return { said: '', fields: [] };
  }
  const detail = pointer(answer, '/detail') ?? pointer(answer, '/message');
  const faults = Array.isArray(detail) ? detail.map((fault) => pointer(fault, '/loc')) : [];
  const fields = faults.flatMap((loc) => (Array.isArray(loc) ? [String(loc[1] ?? loc[0] ?? '')] : []));
  return {
    said: typeof detail === 'string' ? detail : JSON.stringify(detail ?? ''),
    fields: [...new Set(fields)].filter((field) => /^[a-z_]{1,40}$/.test(field)),
  };
}

function accessOf(caller: LangflowCaller): LangflowAccess {
  if ('admin' in caller) return 'admin';
  if ('key' in caller) return 'user';
  return 'nobody' in caller ? 'none' : 'session';
}

function proofOf(caller: LangflowCaller): Record<string, string> {
  if ('admin' in caller) return { 'x-api-key': caller.admin };
  if ('key' in caller) return { 'x-api-key': caller.key };
  if ('bearer' in caller) return { authorization: `Bearer ${caller.bearer}` };
  // Marked Secure before 1.11, so that no cookie jar would send it over plain HTTP.
  return 'refresh' in caller ? { cookie: `refresh_token_lf=${caller.refresh}` } : {};
}

function json(method: string, body: object): { method: string; body: string; headers: Record<string, string> } {
  return { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
}

function runBody({ inputValue, inputType, outputType, outputComponent, tweaks, sessionId }: FlowRun): LangflowDocument {
  return {
    ...{ input_value: inputValue, input_type: inputType, output_type: outputType, session_id: sessionId },
    ...(outputComponent ? { output_component: outputComponent } : {}),
    ...(Object.keys(tweaks).length > 0 ? { tweaks } : {}),
  };
}

function definedOf(values: LangflowDocument): LangflowDocument {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function document(value: unknown): LangflowDocument {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new LangflowError('not_json', 'user', { status: 200 });
  return value as LangflowDocument;
}

/** An id that can stand in a path. */
function id(value: unknown): string {
  const found = text(value, '/id');
  if (!/^[A-Za-z0-9-]+$/.test(found)) throw new LangflowError('not_json', 'none', { status: 200 });
  return found;
}

function text(value: unknown, at: string): string {
  const found = pointer(value, at);
  if (typeof found !== 'string' || found === '' || !/^[\x21-\x7e]+$/.test(found))
    throw new LangflowError('not_json', 'none', { status: 200 });
  return found;
}

function tokensOf(answer: unknown): LangflowTokens {
  const accessToken = text(answer, '/access_token');
  const refreshToken = pointer(answer, '/refresh_token');
  return {
    accessToken,
    refreshToken: typeof refreshToken === 'string' ? refreshToken : '',
    ...{ obtainedAt: Date.now(), expiresAt: expiryOf(accessToken) },
  };
}

/** Only read, not verified: it was answered by Langflow itself. 0: it says none. */
function expiryOf(token: string): number {
  try {
    return (decodeJwt(token).exp ?? 0) * 1000;
  } catch {
    return 0;
  }
}
