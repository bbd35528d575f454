import { createHmac } from 'node:crypto';

const PREFIX = 'whsec_';

/** What an attempt is signed with and about. */
export type SignedMessage = {
  id: string;
  /** Seconds since the epoch. */
  timestamp: number;
  body: string;
};

/**
 * The headers of Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md): a signature for each
 * secret, the newest first; without secrets none.
 */
export function webhookHeaders({ id, timestamp, body }: SignedMessage, secrets: readonly string[]): [string, string][] {
  const content = `${id}.${timestamp}.${body}`;
  const signatures = secrets.map(
    (secret) => `v1,${createHmac('sha256', keyOf(secret)).update(content).digest('base64')}`,
  );
  return [
    ['webhook-id', id],
    ['webhook-timestamp', String(timestamp)],
    ...(signatures.length > 0 ? [['webhook-signature', signatures.join(' ')] as [string, string]] : []),
  ];
}

/** `whsec_` and base64; what has no such prefix is used as its bytes. */
function keyOf(secret: string): Buffer {
  return secret.startsWith(PREFIX) ? Buffer.from(secret.slice(PREFIX.length), 'base64') : Buffer.from(secret);
}
