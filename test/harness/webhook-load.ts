import { WebhookMode } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import type { Received } from './receiver.ts';
import type { Clients } from './server.ts';

/** Sends webhooks that nobody waits for, so many at once; answers the ids of those that were accepted. Who is killed meanwhile has accepted the fewer. */
export async function sendMany(
  clients: () => Clients,
  count: number,
  {
    url,
    inFlight = 32,
    timeoutMs = 1_000,
    attempts = 10,
  }: { url: (n: number) => string; inFlight?: number; timeoutMs?: number; attempts?: number },
): Promise<string[]> {
  const accepted: string[] = [];
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const request = { url: url(next++), mode: WebhookMode.FIRE_AND_FORGET, timeoutMs, attempts, backoffMs: 50 };
      const sent = await clients()
        .webhooks.sendWebhook(request)
        .catch(() => null);
      if (sent) accepted.push(sent.delivery!.id);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return accepted;
}

/** How often each `webhook-id` came. */
export function timesReceived(received: readonly Received[]): Map<string, number> {
  const times = new Map<string, number>();
  for (const { headers } of received) {
    const id = String(headers['webhook-id']);
    times.set(id, (times.get(id) ?? 0) + 1);
  }
  return times;
}
