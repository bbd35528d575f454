import { createHash } from 'node:crypto';
import { newId } from '../../base/id.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import { type DeliveryPurpose, deliveryPlace } from '../../model/delivery.ts';
import type { EventEndpoint } from '../../model/event-endpoint.ts';
import type { DeliveryTask } from '../deliveries.ts';
import { EVENT_PAUSES_MS } from '../webhooks/schedule.ts';
import type { EventBody } from './event-body.ts';

const TIMEOUT_MS = 15_000;

/** What is to be sent: of an event or a test, under the id of it. */
export type Told = { purpose: Exclude<DeliveryPurpose, 'webhook'>; eventId: string; body: EventBody };

/**
 * A delivery to an endpoint, and its request, sealed. URL, headers and secrets are those of each attempt, so none are in it. Each endpoint has a lane of its own.
 * @param id where there is one of the event already
 */
export function eventDelivery(
  endpoint: EventEndpoint,
  { purpose, eventId, body }: Told,
  seal: Sealer,
  now: number,
  id: string = newId('dlv', now),
): { task: DeliveryTask; sealed: Buffer } {
  const { tenantId, id: endpointId } = endpoint;
  const headers: [string, string][] = [['content-type', 'application/json']];
  const request = { url: '', headers, body: JSON.stringify(body) };
  const task: DeliveryTask = {
    ...{ tenantId, id, messageId: eventId, purpose, connectionId: null, signedBy: endpointId },
    ...{ host: new URL(endpoint.url).host, lane: laneOf(endpointId), method: 'POST', request },
    ...{ timeoutMs: TIMEOUT_MS, backoffMs: EVENT_PAUSES_MS[0]!, attemptCount: 0, awaited: purpose === 'test_event' },
    maxAttempts: purpose === 'event' ? EVENT_PAUSES_MS.length + 1 : 1,
  };
  return { task, sealed: seal(deliveryPlace(tenantId, id), Buffer.from(JSON.stringify(request))) };
}

function laneOf(endpointId: string): number {
  return createHash('sha256').update(endpointId).digest().readInt32BE();
}
