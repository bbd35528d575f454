import { setTimeout as pause } from 'node:timers/promises';
import { WebhookMode } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import type { Clients } from './server.ts';
import type { ReceivedWebhook } from './webhook-receiver.ts';

type Load = { url: (n: number) => string; inFlight?: number; timeoutMs?: number; attempts?: number };

/** Has so many webhooks accepted that nobody waits for, each asked for until one of the replicas took it; answers their ids. */
export async function sendMany(
  clients: () => Clients,
  count: number,
  { url, inFlight = 32, timeoutMs = 1_000, attempts = 10 }: Load,
): Promise<string[]> {
  const accepted: string[] = [];
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const request = { url: url(next++), mode: WebhookMode.FIRE_AND_FORGET, timeoutMs, attempts, backoffMs: 50 };
      accepted.push(await acceptedId(clients, request));
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return accepted;
}

async function acceptedId(
  clients: () => Clients,
  request: Parameters<Clients['webhooks']['sendWebhook']>[0],
): Promise<string> {
  for (;;) {
    const sent = await clients()
      .webhooks.sendWebhook(request)
      .catch(() => null);
    if (sent) return sent.delivery!.id;
    await pause(20);
  }
}

/** How often each `webhook-id` came. */
export function timesReceived(received: readonly ReceivedWebhook[]): Map<string, number> {
  const times = new Map<string, number>();
  for (const { headers } of received) {
    const id = String(headers['webhook-id']);
    times.set(id, (times.get(id) ?? 0) + 1);
  }
  return times;
}
