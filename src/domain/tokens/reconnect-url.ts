import { signText, verifyText } from '../../crypto/signed-text.ts';
import type { App, ReadyCredential } from '../call.ts';

const GOOD_FOR_MS = 3_600_000;

/** A link by which a person grants access to a connection's account again: good for an hour. Empty where it has no integration. */
export function reconnectUrl(app: App, { tenantId, connectionId, integrationId }: ReadyCredential): string {
  if (!integrationId) return '';
  const content = JSON.stringify([tenantId, connectionId, app.clock.now() + GOOD_FOR_MS]);
  return `${app.publicUrl}/oauth/start?reconnect=${signText(app.linkKey, content)}`;
}

/** The connection that such a link is for; null where it is not one of ours, or too old. */
export function readReconnectToken(app: App, token: string): { tenantId: string; connectionId: string } | null {
  const content = verifyText(app.linkKey, token);
  if (content === null) return null;
  const [tenantId, connectionId, until] = JSON.parse(content) as [string, string, number];
  return app.clock.now() < until ? { tenantId, connectionId } : null;
}
