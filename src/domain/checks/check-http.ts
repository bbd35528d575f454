import { mergeHeaders } from '../../oauth/wire.ts';
import type { ReadyCredential } from '../call.ts';
import { changeIn } from '../change.ts';
import { httpParameters } from '../connections/http-parameters.ts';
import { lookUpProvider } from '../integrations/find-provider.ts';
import { loadOAuthSetupOf } from '../integrations/oauth-setup.ts';
import { addCredentialQuery, requestHeaders } from '../requests/outgoing-request.ts';
import { renewRefused } from '../tokens/renew-refused.ts';
import { CHECK_USE, type Check } from './check.ts';
import { type Finding, finding, unsupported } from './check-report.ts';
import { type CheckedProvider, type HttpCheck, httpCheckOf } from './http-check.ts';
import { judgeAnswer } from './judge-answer.ts';

const LARGEST_ANSWER_BYTES = 4 * 1024 * 1024;
const REFUSED = 401;

/** Makes the request that checks a connection for HTTP. Where a token is refused that can be renewed, once more with another. */
export async function checkHttp(check: Check): Promise<Finding> {
  const { call, view, credential } = check;
  const request = httpCheckOf({ view, credential, provider: await providerOf(check) });
  if (!request) return checkByToken(check);
  const first = await send(check, request, credential);
  if (first.statusCode !== REFUSED) return first;
  const other = await renewRefused(call, credential, CHECK_USE);
  return other ? send(check, request, other) : first;
}

/** A token that is fetched is a check in itself. */
async function checkByToken({ call, view, credential }: Check): Promise<Finding> {
  const { kind } = view.connection;
  if (kind !== 'login' && kind !== 'client_credentials')
    return unsupported(
      'There is nothing to ask: the connection has no base URL, and its provider no check.',
      'Give the connection a base_url, and a check where that alone does not tell.',
    );
  await renewRefused(call, credential, CHECK_USE);
  return finding('VALID', 0, { message: 'A token was fetched' });
}

async function providerOf({ call, view }: Check): Promise<CheckedProvider | null> {
  const { app } = call;
  const { tenantId, provider, integrationId } = view.connection;
  if (integrationId) {
    const setup = await loadOAuthSetupOf(app, tenantId, integrationId);
    return { ...setup.provider, parameters: setup.parameters };
  }
  const known = provider ? await changeIn(app, tenantId, (em) => lookUpProvider(app, em, tenantId, provider)) : null;
  return known && { ...known, parameters: null };
}

async function send({ call, timeoutMs }: Check, request: HttpCheck, credential: ReadyCredential): Promise<Finding> {
  const { kind, fields, secrets, requests } = credential;
  const parameters = httpParameters(kind, fields, secrets);
  const url = new URL(request.url);
  addCredentialQuery(url, parameters);
  // Headers that were given for the connection's hosts are for nobody else.
  const own = request.ownHost ? Object.entries(requests.defaultHeaders) : [];
  const response = await call.app.egress.fetch(url, {
    ...{ method: request.method, timeoutMs, signal: call.signal, maxBodyBytes: LARGEST_ANSWER_BYTES },
    headers: requestHeaders(mergeHeaders({ accept: 'application/json' }, request.headers), own, parameters),
  });
  const sent = [...parameters.headers, ...parameters.query].flatMap(({ value }) => [value, ...value.split(' ')]);
  const answer = { status: response.status, headers: response.headers, text: await response.text() };
  return judgeAnswer(request, answer, [...Object.values(secrets), ...sent]);
}
