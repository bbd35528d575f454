import { LatchkeyError } from '../../base/error.ts';
import { hot } from '../../db/hot.ts';
import { endpointHeadersPlace, endpointSecretPlace } from '../../model/event-endpoint.ts';
import type { App } from '../call.ts';

type Row = {
  enabled: boolean;
  url: string;
  headers: Buffer | null;
  secret: Buffer;
  previous_secret: Buffer | null;
  secret_generation: number;
};
type Target = { url: string; headers: [string, string][]; secrets: string[] };

/**
 * Where events for an endpoint go at this moment, with its own headers and what they are signed with: the present secret and, while it is being replaced, the one before.
 * Fails with EVENT_ENDPOINT_NOT_FOUND, EVENT_ENDPOINT_DISABLED.
 */
export async function endpointTarget(app: App, tenantId: string, id: string, evenDisabled: boolean): Promise<Target> {
  const [row] = await hot<Row>(app.pool, 'readEventEndpoint', [tenantId, id]);
  if (!row) throw endpointNotFound(id);
  if (!row.enabled && !evenDisabled) throw endpointDisabled(id);
  const { url, headers, secret, previous_secret: previous, secret_generation: generation } = row;
  const open = async (value: Buffer, of: number) =>
    (await app.keyring.open(endpointSecretPlace(tenantId, id, of), value)).toString();
  const secrets = [await open(secret, generation)];
  if (previous) secrets.push(await open(previous, generation - 1));
  const own = headers && (await app.keyring.open(endpointHeadersPlace(tenantId, id), headers));
  return { url, headers: own ? Object.entries(JSON.parse(own.toString()) as Record<string, string>) : [], secrets };
}

/** EVENT_ENDPOINT_NOT_FOUND, the same whether the endpoint is absent or somebody else's. */
export function endpointNotFound(id: string): LatchkeyError {
  return new LatchkeyError('EVENT_ENDPOINT_NOT_FOUND', { metadata: { endpoint_id: id } });
}

export function endpointDisabled(id: string): LatchkeyError {
  return new LatchkeyError('EVENT_ENDPOINT_DISABLED', { metadata: { endpoint_id: id } });
}
