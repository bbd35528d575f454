import type { MessageInitShape } from '@bufbuild/protobuf';
import { ActorKind, type AuditEntrySchema } from '../../gen/latchkey/v1/audit_entry_pb.ts';
import { AuditService } from '../../gen/latchkey/v1/audit_service_pb.ts';
import { listAuditEntries } from '../domain/audit/list-audit-entries.ts';
import type { AuditEntry, ActorKind as StoredActor } from '../model/audit-entry.ts';
import { implement } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { toTimestamp } from './time.ts';

export const auditService = implement(AuditService, {
  async listAuditEntries(call, request) {
    const page = await listAuditEntries(call, pageRequest(request));
    return { entries: page.items.map(entryToProto), ...pageResponse(page) };
  },
});

const ACTORS: Record<StoredActor, ActorKind> = {
  user: ActorKind.USER,
  api_key: ActorKind.API_KEY,
  system: ActorKind.SYSTEM,
};

function entryToProto(entry: AuditEntry): MessageInitShape<typeof AuditEntrySchema> {
  const { id, actorId, onBehalfOf, action, resourceType, resourceId, requestId, address } = entry;
  return {
    ...{ id, actorId, onBehalfOf, action, resourceType, resourceId, requestId, address },
    actorKind: ACTORS[entry.actorKind],
    before: entry.before ?? undefined,
    after: entry.after ?? undefined,
    createTime: toTimestamp(entry.createTime),
  };
}
