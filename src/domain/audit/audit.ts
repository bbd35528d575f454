import type { Em } from '../../db/transaction.ts';
import { AuditEntry, type ReadEntry } from '../../model/audit-entry.ts';
import type { JsonObject } from '../../model/json.ts';
import type { Call, ToolCall } from '../call.ts';
import { newAuditId } from './audit-id.ts';

/** What an entry is about. */
export type Resource = { type: string; id: string };
type States = { before?: JsonObject; after?: JsonObject };

/** Adds an entry to the transaction of the change that it speaks of. States are summaries, without secrets. */
export function audit(em: Em, call: ToolCall, action: string, resource: Resource, states: States = {}): void {
  const { principal, app } = call;
  const now = app.clock.now();
  em.persist(
    em.create(AuditEntry, {
      tenantId: principal.tenantId,
      id: newAuditId(app.auditKeys, principal.tenantId, now),
      ...actorOf(call),
      action,
      resourceType: resource.type,
      resourceId: resource.id,
      before: states.before ?? null,
      after: states.after ?? null,
      requestId: call.requestId,
      address: call.address,
      createTime: new Date(now),
    }),
  );
}

/** Records something that changed nothing: a secret handed out, an access refused. Throws AUDIT_UNAVAILABLE. */
export function auditRead(call: Call, action: string, resource: Resource): void | Promise<void> {
  return call.app.readAudit.record(readEntry(call, action, resource));
}

/** An entry to be written by who writes many at once. */
export function readEntry(call: Call, action: string, { type, id }: Resource): ReadEntry {
  const { principal, requestId, address } = call;
  const time = call.app.clock.now();
  const { actorKind, actorId, onBehalfOf } = actorOf(call);
  const { tenantId } = principal;
  return {
    tenantId,
    id: newAuditId(call.app.auditKeys, tenantId, time),
    actorKind,
    actorId,
    onBehalfOf,
    action,
    resourceType: type,
    resourceId: id,
    requestId,
    address,
    time,
  };
}

function actorOf({ principal }: ToolCall) {
  const onBehalfOf = principal.kind === 'api_key' ? (principal.userId ?? '') : '';
  return { actorKind: principal.kind, actorId: principal.id, onBehalfOf };
}
