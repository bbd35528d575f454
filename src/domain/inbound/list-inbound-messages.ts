import { leastId } from '../../base/id.ts';
import { type Conditions, listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { InboundMessage } from '../../model/inbound-message.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { ofEndpointsSeenBy } from './visibility.ts';

export type InboundMessageOrder = 'RECEIVE_TIME_DESC' | 'RECEIVE_TIME_ASC';

export type InboundMessageFilter = {
  /** Empty: all that the caller may see. */
  endpointId: string;
  /** To the millisecond; null: no limit. */
  receivedFrom: Date | null;
  receivedBefore: Date | null;
  replayed: boolean | undefined;
};

/** All but headers and body. */
export const COLUMNS =
  'tenant_id, id, endpoint_id, sender_id, content_type, body_bytes, replay_count, last_replay_time, receive_time, expire_time';

/** Lists messages, without headers and bodies. Fails with PAGE_TOKEN_INVALID. */
export function listInboundMessages(
  call: Call,
  filter: InboundMessageFilter,
  order: InboundMessageOrder,
  request: PageRequest,
): Promise<Page<InboundMessage>> {
  const query = {
    ...{ table: 'inbound_message', columns: COLUMNS },
    conditions: [ofEndpointsSeenBy(call.principal), ...conditionsOf(filter)],
    ...{ orderBy: [{ column: 'id' }], descending: order === 'RECEIVE_TIME_DESC' },
    sortValues: ({ id }: { id: string }) => [id],
  };
  return read(call, async (em) => {
    const page = await listPage(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(InboundMessage, row)) };
  });
}

/** Ids are in order of receipt: by them the index finds a time. */
export function conditionsOf({ endpointId, receivedFrom, receivedBefore, replayed }: InboundMessageFilter): Conditions {
  const conditions: Conditions = [];
  if (endpointId) conditions.push({ sql: 'endpoint_id = ?', params: [endpointId] });
  if (receivedFrom) conditions.push({ sql: 'id >= ?', params: [leastId('imsg', receivedFrom.getTime())] });
  if (receivedBefore) conditions.push({ sql: 'id < ?', params: [leastId('imsg', receivedBefore.getTime())] });
  if (replayed !== undefined) conditions.push({ sql: `replay_count ${replayed ? '>' : '='} 0`, params: [] });
  return conditions;
}
