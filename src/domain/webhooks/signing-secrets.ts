import { LatchkeyError } from '../../base/error.ts';
import { hot } from '../../db/hot.ts';
import { previousWebhookSecretPlace, webhookSecretPlace } from '../../model/connection.ts';
import type { App } from '../call.ts';

type Row = { current: Buffer | null; previous: Buffer | null };

/** The secrets that sign in a connection's name: the present one and, while it is being replaced, the one before. Fails with WEBHOOK_SECRET_MISSING. */
export async function signingSecrets(app: App, tenantId: string, connectionId: string): Promise<string[]> {
  const [row] = await hot<Row>(app.pool, 'readSigningSecrets', [tenantId, connectionId]);
  if (!row?.current) throw secretMissing(connectionId);
  const current = await app.keyring.open(webhookSecretPlace(tenantId, connectionId), row.current);
  if (!row.previous) return [current.toString()];
  const previous = await app.keyring.open(previousWebhookSecretPlace(tenantId, connectionId), row.previous);
  return [current.toString(), previous.toString()];
}

/** WEBHOOK_SECRET_MISSING. */
export function secretMissing(connectionId: string): LatchkeyError {
  return new LatchkeyError('WEBHOOK_SECRET_MISSING', { metadata: { connection_id: connectionId } });
}
