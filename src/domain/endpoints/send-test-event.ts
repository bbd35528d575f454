import { newId } from '../../base/id.ts';
import type { Delivery } from '../../model/delivery.ts';
import { readEntry } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { awaitDelivery } from '../webhooks/await-delivery.ts';
import { eventBody } from './event-body.ts';
import { eventDelivery } from './event-delivery.ts';
import { findManagedEndpoint } from './visibility.ts';

/** Sends an event to an endpoint that is one for nobody else, once, and waits for the outcome. Fails with EVENT_ENDPOINT_NOT_FOUND. */
export async function sendTestEvent(call: Call, id: string): Promise<Delivery> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const endpoint = await read(call, (em) => findManagedEndpoint(em, call, id));
  const now = app.clock.now();
  const eventId = newId('evt', now);
  const body = eventBody({
    ...{ tenantId, id: eventId, type: 'event_endpoint.test', payload: {}, createTime: new Date(now), position: 0 },
    ...endpointAggregate(endpoint),
  });
  const seal = await app.keyring.sealer(tenantId);
  const delivery = eventDelivery(endpoint, { purpose: 'test_event', eventId, body }, seal, now);
  await app.deliveries.accept({
    ...delivery,
    ...{ ownerUserId: null, projectId: endpoint.projectId },
    audit: {
      ...readEntry(call, 'event_endpoint_tested', { type: 'event_endpoint', id }),
      after: { event_id: eventId },
    },
  });
  return awaitDelivery(call, delivery.task.id);
}

function endpointAggregate(endpoint: Parameters<typeof eventDelivery>[0]) {
  const { type: aggregateType, id: aggregateId, ...rest } = endpoint.aggregate();
  return { aggregateType, aggregateId, ...rest };
}
