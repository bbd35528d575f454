import type { MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { ActorKind, type AuditEntrySchema } from '../../gen/latchkey/v1/audit_entry_pb.ts';
import {
  AuditEntryOrder,
  AuditService,
  type ListAuditEntriesRequestSchema,
} from '../../gen/latchkey/v1/audit_service_pb.ts';
import type { AuditFilter } from '../domain/audit/audit-filter.ts';
import { listAuditEntries } from '../domain/audit/list-audit-entries.ts';
import type { AuditEntry, ActorKind as StoredActor } from '../model/audit-entry.ts';
import { implement } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { fromTimestamp, toTimestamp } from './time.ts';

export const auditService = implement(AuditService, {
  async listAuditEntries(call, request) {
    const order = request.order === AuditEntryOrder.CREATE_TIME_ASC ? 'CREATE_TIME_ASC' : 'CREATE_TIME_DESC';
    const page = await listAuditEntries(call, auditFilter(request), order, pageRequest(request));
    return { entries: page.items.map(entryToProto), ...pageResponse(page) };
  },
});

const ACTORS: Record<StoredActor, ActorKind> = {
  user: ActorKind.USER,
  api_key: ActorKind.API_KEY,
  system: ActorKind.SYSTEM,
};
const STORED_ACTORS = new Map(Object.entries(ACTORS).map(([stored, actor]) => [actor, stored as StoredActor]));

/** What a request asks for. Fails with FIELD_INVALID. */
export function auditFilter(request: MessageShape<typeof ListAuditEntriesRequestSchema>): AuditFilter {
  const { actorId, onBehalfOf, action, actionPrefix, resourceType, resourceId, requestId } = request;
  return {
    ...{ actorId, onBehalfOf, action, actionPrefix, resourceType, resourceId, requestId },
    actorKind: STORED_ACTORS.get(request.actorKind),
    startTime: fromTimestamp(request.startTime, 'start_time'),
    endTime: fromTimestamp(request.endTime, 'end_time'),
  };
}

/** An entry as the contract has it. */
export function entryToProto(entry: AuditEntry): MessageInitShape<typeof AuditEntrySchema> {
  const { id, actorId, onBehalfOf, action, resourceType, resourceId, requestId, address } = entry;
  return {
    ...{ id, actorId, onBehalfOf, action, resourceType, resourceId, requestId, address },
    actorKind: ACTORS[entry.actorKind],
    before: entry.before ?? undefined,
    after: entry.after ?? undefined,
    createTime: toTimestamp(entry.createTime),
  };
}
