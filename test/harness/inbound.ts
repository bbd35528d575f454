import { randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';

/** A new signing secret, as Standard Webhooks writes them. */
export const signingSecret = () => `whsec_${randomBytes(24).toString('base64')}`;

/** The headers that a sender by Standard Webhooks puts on a message now. */
export function signedHeaders(secret: string, id: string, body: string, at = new Date()): Record<string, string> {
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign(id, at, body),
  };
}

/** Sends a message to an endpoint of a server at this port. */
export function sendMessage(
  httpPort: number,
  endpointId: string,
  headers: Record<string, string>,
  body: string | Uint8Array<ArrayBuffer>,
): Promise<Response> {
  return fetch(`http://127.0.0.1:${httpPort}/webhooks/${endpointId}`, { method: 'POST', headers, body });
}
