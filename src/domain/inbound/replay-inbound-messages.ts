import { fieldInvalid } from '../../base/error.ts';
import { type Conditions, oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import { InboundMessage } from '../../model/inbound-message.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { inboundMessageNotFound } from './get-inbound-message.ts';
import { COLUMNS, conditionsOf, type InboundMessageFilter } from './list-inbound-messages.ts';
import { findInboundEndpoint, ofEndpointsSeenBy } from './visibility.ts';

const MOST_AT_ONCE = 1_000;

/** Which messages to tell anew: these, or those of an endpoint. */
export type ReplayRequest = { messageIds: readonly string[] } & InboundMessageFilter;

/**
 * Tells messages anew, by the event that told them first. `more`: the range holds more than was replayed.
 * Fails with INBOUND_MESSAGE_NOT_FOUND, INBOUND_ENDPOINT_NOT_FOUND, FIELD_INVALID.
 */
export function replayInboundMessages(
  call: Call,
  { messageIds, ...filter }: ReplayRequest,
): Promise<{ messages: InboundMessage[]; more: boolean }> {
  const byId = messageIds.length > 0;
  const filtered = filter.endpointId || filter.receivedFrom || filter.receivedBefore || filter.replayed !== undefined;
  if (byId && filtered) throw fieldInvalid('message_ids', 'goes without endpoint_id and its filters');
  if (!byId && !filter.endpointId) throw fieldInvalid('message_ids', 'is required, or endpoint_id');
  return change(call, async (em) => {
    if (!byId) await findInboundEndpoint(em, call, filter.endpointId);
    const wanted = byId ? [oneOf('id', messageIds)] : conditionsOf(filter);
    const ids = await lockMessages(em, call, wanted);
    const absent = messageIds.find((id) => !ids.includes(id));
    if (absent) throw inboundMessageNotFound(absent);
    const messages = await mark(em, call, ids.slice(0, MOST_AT_ONCE));
    await tell(em, call, messages);
    return { messages, more: ids.length > MOST_AT_ONCE };
  });
}

/** In order of id, as all who lock several rows do. One more than is replayed, to know whether there is. */
async function lockMessages(em: Em, { principal }: Call, wanted: Conditions): Promise<string[]> {
  const own = ofEndpointsSeenBy(principal, 'webhook:manage');
  const conditions = [{ sql: 'tenant_id = ?', params: [principal.tenantId] }, own, ...wanted];
  const rows = await em.execute<{ id: string }[]>(
    `select id from latchkey.inbound_message where ${conditions.map(({ sql }) => `(${sql})`).join(' and ')}
     order by id limit ${MOST_AT_ONCE + 1} for update`,
    conditions.flatMap(({ params }) => params),
  );
  return rows.map(({ id }) => id);
}

async function mark(em: Em, { app, principal }: Call, ids: readonly string[]): Promise<InboundMessage[]> {
  const { sql, params } = oneOf('id', ids);
  const rows = await em.execute<{ id: string }[]>(
    `update latchkey.inbound_message set replay_count = replay_count + 1, last_replay_time = ?
     where tenant_id = ? and ${sql} returning ${COLUMNS}`,
    [new Date(app.clock.now()), principal.tenantId, ...params],
  );
  const messages = rows.map((row) => em.map(InboundMessage, row));
  return messages.sort((a, b) => (a.id < b.id ? -1 : 1));
}

async function tell(em: Em, call: Call, messages: readonly InboundMessage[]): Promise<void> {
  const endpointIds = [...new Set(messages.map(({ endpointId }) => endpointId))];
  const endpoints = await em.find(InboundEndpoint, { tenantId: call.principal.tenantId, id: { $in: endpointIds } });
  const endpointOf = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
  for (const { id, endpointId, replayCount } of messages) {
    const { projectId, ownerUserId, connectionId, provider } = endpointOf.get(endpointId)!;
    const resource = { type: 'inbound_message', id };
    audit(em, call, 'inbound_message_replayed', resource, { after: { replay: replayCount } });
    event(
      em,
      call,
      'inbound_message.received',
      { ...resource, generation: replayCount + 1, ownerUserId, projectId },
      {
        ...{ message_id: id, endpoint_id: endpointId, project_id: projectId, connection_id: connectionId },
        ...{ provider, replay: replayCount },
      },
    );
  }
}
