import { LatchkeyError } from '../../base/error.ts';
import type { CredentialKind } from '../../model/connection.ts';
import type { ReadyCredential } from '../call.ts';
import { type HttpParameters, httpParameters } from '../connections/http-parameters.ts';
import { addCredentialQuery, type RequestPath, requestHeaders, targetUrl } from './outgoing-request.ts';
import { signAws } from './sign-aws.ts';

/** A request with its credential in it. */
export type PreparedRequest = { url: URL; headers: [string, string][]; parameters: HttpParameters };

/** A signature is made when the request is sent; of a custom credential nobody knows where it goes, so nothing is put in. */
const USABLE_BARE: readonly CredentialKind[] = ['aws', 'custom'];

type Parts = RequestPath & { headers: readonly (readonly [string, string])[] };

/** Fails with CONNECTION_NOT_HTTP, HOST_NOT_ALLOWED, FIELD_INVALID that names `path`. */
export function prepareRequest(
  credential: ReadyCredential,
  { path, query, headers: callers }: Parts,
  body: { contentType: string; fixed: boolean } | null,
): PreparedRequest {
  const { connectionId, kind, fields, secrets, requests } = credential;
  const parameters = httpParameters(kind, fields, secrets);
  if (!USABLE_BARE.includes(kind) && parameters.headers.length + parameters.query.length === 0)
    throw notHttp(connectionId, 'kind');
  if (!requests.baseUrl && !/^https?:/i.test(path)) throw notHttp(connectionId, 'base_url');
  const url = targetUrl(requests, { path, query });
  addCredentialQuery(url, parameters);
  const own = body?.fixed ? callers.filter(([name]) => name.toLowerCase() !== 'content-type') : callers;
  const headers = requestHeaders(requests.defaultHeaders, own, parameters);
  if (body && !headers.some(([name]) => name.toLowerCase() === 'content-type'))
    headers.push(['content-type', body.contentType]);
  return { url, headers, parameters };
}

/** The headers to send now: a signature is of its time, and made for each attempt. `body` null: it is a stream. */
export async function headersToSend(
  credential: ReadyCredential,
  method: string,
  { url, headers }: PreparedRequest,
  body: Uint8Array | null,
  now: number,
): Promise<[string, string][]> {
  return credential.kind === 'aws' ? signAws(credential, { method, url, headers }, body, now) : headers;
}

function notHttp(connectionId: string, cause: 'kind' | 'base_url'): LatchkeyError {
  return new LatchkeyError('CONNECTION_NOT_HTTP', { metadata: { connection_id: connectionId, cause } });
}
