import type { CredentialKind } from '../../model/connection.ts';
import type { JsonObject } from '../../model/json.ts';

/** What to add to an HTTP request. */
export type HttpParameters = { headers: Parameter[]; query: Parameter[] };
export type Parameter = { name: string; value: string };

/** Header or query parameter by which a credential authenticates an HTTP request; none for the kinds that HTTP does not know. */
export function httpParameters(
  kind: CredentialKind,
  fields: JsonObject,
  secrets: Record<string, string>,
): HttpParameters {
  switch (kind) {
    case 'api_key': {
      const parameter = { name: String(fields.name), value: `${fields.prefix ?? ''}${secrets.key}` };
      return fields.location === 'query' ? { headers: [], query: [parameter] } : { headers: [parameter], query: [] };
    }
    case 'oauth2':
      return authorization(`Bearer ${secrets.access_token}`);
    case 'bearer':
      return authorization(`Bearer ${secrets.token}`);
    case 'basic':
      return authorization(`Basic ${Buffer.from(`${fields.username ?? ''}:${secrets.password}`).toString('base64')}`);
    default:
      return { headers: [], query: [] };
  }
}

function authorization(value: string): HttpParameters {
  return { headers: [{ name: 'Authorization', value }], query: [] };
}
