import { fieldInvalid } from '../../base/error.ts';
import type { Connection } from '../../model/connection.ts';
import type { JsonValue } from '../../model/json.ts';
import type { DeliveryRequest } from '../deliveries.ts';
import { isCallersHeader, targetUrl } from '../requests/outgoing-request.ts';
import type { Template } from './fill-template.ts';

const MOST_BODY_BYTES = 256 * 1024;
/** Beside a credential of a connection, callers bring none of their own. */
const CREDENTIAL_HEADERS = ['authorization', 'cookie'];

/** A request with its variables still open. */
export type RequestTemplate = {
  /** A whole URL, or a path below the base URL of the connection. */
  url: string;
  headers: Record<string, string>;
  /** Undefined: none. */
  body: JsonValue | undefined;
};

/** A request that is ready but for the credential, and where it goes. */
export type FilledRequest = { request: DeliveryRequest; target: URL };

/** Fills a request in, and checks it as it will be sent. Fails with FIELD_INVALID, HOST_NOT_ALLOWED. */
export function fillRequest(
  template: Template,
  { url, headers, body }: RequestTemplate,
  connection: Connection | null,
): FilledRequest {
  const path = template.text(url, connection ? 'path' : 'url', encodeURIComponent);
  const target = connection ? targetUrl(connection, { path, query: [] }) : wholeUrl(path);
  const filled = Object.entries(headers).map(([name, value]) => {
    const field = `headers[${JSON.stringify(name)}]`;
    if (!mayBeSet(name, connection)) throw fieldInvalid(field, 'is not the caller’s to set');
    return [
      name,
      headerText(
        template.text(value, field, (text) => text),
        field,
      ),
    ] as [string, string];
  });
  const text = body === undefined ? null : JSON.stringify(template.json(body, 'body'));
  if (text !== null && Buffer.byteLength(text) > MOST_BODY_BYTES)
    throw fieldInvalid('body', `is larger than ${MOST_BODY_BYTES} bytes as JSON`);
  const typed = text === null || filled.some(([name]) => name.toLowerCase() === 'content-type');
  const all: [string, string][] = typed ? filled : [...filled, ['content-type', 'application/json']];
  return { request: { url: connection ? path : target.href, headers: all, body: text }, target };
}

function wholeUrl(text: string): URL {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) throw fieldInvalid('url', 'is no http or https URL');
  if (url.username || url.password) throw fieldInvalid('url', 'holds user information');
  url.hash = '';
  return url;
}

function mayBeSet(name: string, connection: Connection | null): boolean {
  const lower = name.toLowerCase();
  if (lower.startsWith('webhook-')) return false;
  return isCallersHeader(lower) || (connection === null && CREDENTIAL_HEADERS.includes(lower));
}

/** As HTTP takes it (RFC 9110, section 5.5): what cannot stand in a header could end it. */
function headerText(text: string, field: string): string {
  if (!/^[\x20-\x7e\t]*$/.test(text)) throw fieldInvalid(field, 'holds what cannot stand in a header');
  return text;
}
