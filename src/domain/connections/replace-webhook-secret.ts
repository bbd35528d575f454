import { LatchkeyError } from '../../base/error.ts';
import type { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { hot } from '../../db/hot.ts';
import { type Connection, previousWebhookSecretPlace, webhookSecretPlace } from '../../model/connection.ts';
import type { App } from '../call.ts';

/** A webhook signature secret as it was stored when it was read, and open; null: it does not open, and can only be replaced. */
export type StoredSecret = { sealed: Buffer; text: Buffer | null };

/** The present secret of a connection: had before a transaction, so that none waits for a second database connection. Null: it has none. */
export async function presentWebhookSecret(app: App, tenantId: string, id: string): Promise<StoredSecret | null> {
  const [row] = await hot<{ current: Buffer | null }>(app.pool, 'readSigningSecrets', [tenantId, id]);
  if (!row?.current) return null;
  try {
    return { sealed: row.current, text: await app.keyring.open(webhookSecretPlace(tenantId, id), row.current) };
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error;
    app.metrics.integrityFailures.inc();
    return { sealed: row.current, text: null };
  }
}

/**
 * Puts in a new secret, or none. The one before goes on signing until `overlapEnd`; null: it ends at once.
 * Fails with ETAG_MISMATCH where the present one is not the one that was read.
 */
export function replaceWebhookSecret(
  connection: Connection,
  seal: Sealer,
  { secret, before, overlapEnd }: { secret: SecretText | null; before: StoredSecret | null; overlapEnd: Date | null },
): void {
  const { tenantId, id, webhookSignatureSecret: present } = connection;
  if (!(present ? before?.sealed.equals(present) : before === null))
    throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: connection.etag() } });
  const text = secret?.reveal();
  const kept = text && overlapEnd ? before?.text : null;
  connection.webhookSignatureSecret = text ? seal(webhookSecretPlace(tenantId, id), Buffer.from(text)) : null;
  connection.previousWebhookSecret = kept ? seal(previousWebhookSecretPlace(tenantId, id), kept) : null;
  connection.previousWebhookSecretExpireTime = kept ? overlapEnd : null;
}
