import { signText, verifyText } from '../../crypto/signed-text.ts';
import type { App, ReadyCredential } from '../call.ts';

const GOOD_FOR_MS = 3_600_000;

type Reconnected = Pick<ReadyCredential, 'tenantId' | 'connectionId' | 'integrationId' | 'generation' | 'status'>;

/** A link by which a person grants access to a connection's account again: good for an hour, and until it is granted. Empty where it has no integration, or was revoked. */
export function reconnectUrl(app: App, credential: Reconnected): string {
  const { tenantId, connectionId, integrationId, generation, status } = credential;
  // Who revoked it meant it: it comes back by StartAuthorization alone.
  if (!integrationId || status === 'REVOKED') return '';
  const content = JSON.stringify([tenantId, connectionId, generation, app.clock.now() + GOOD_FOR_MS]);
  return `${app.publicUrl}/oauth/start?reconnect=${signText(app.linkKey, content)}`;
}

/** The connection that such a link is for; null where it is not one of ours, or too old. */
export function readReconnectToken(
  app: App,
  token: string,
): { tenantId: string; connectionId: string; generation: number } | null {
  const content = verifyText(app.linkKey, token);
  if (content === null) return null;
  const [tenantId, connectionId, generation, until] = JSON.parse(content) as [string, string, number, number];
  return app.clock.now() < until ? { tenantId, connectionId, generation } : null;
}
