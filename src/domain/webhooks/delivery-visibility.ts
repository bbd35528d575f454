import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import { type Conditions, oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { Delivery } from '../../model/delivery.ts';
import type { Permission } from '../access/permissions.ts';
import { projectAllowed } from '../access/projects.ts';
import type { Call, Principal } from '../call.ts';
import { isOwn, ownedBy } from '../connections/visibility.ts';

/** A delivery that the caller sees and may act on so. Fails with DELIVERY_NOT_FOUND, PERMISSION_MISSING. */
export async function findDelivery(
  em: Em,
  call: Call,
  id: string,
  permission: Permission,
  lock = false,
): Promise<Delivery> {
  const key = { tenantId: call.principal.tenantId, id };
  const delivery = await em.findOne(Delivery, key, lock ? { lockMode: LockMode.PESSIMISTIC_WRITE } : {});
  if (!delivery || !(holds(call.principal, permission, delivery) || holds(call.principal, 'webhook:read', delivery)))
    throw deliveryNotFound(id);
  if (!holds(call.principal, permission, delivery))
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission } });
  return delivery;
}

/** DELIVERY_NOT_FOUND, the same whether the delivery is absent or somebody else's. */
export function deliveryNotFound(id: string): LatchkeyError {
  return new LatchkeyError('DELIVERY_NOT_FOUND', { metadata: { delivery_id: id } });
}

/** A user's deliveries are seen by that user and by administrators; those of nobody in particular by who holds the permission in their project. */
function holds(principal: Principal, permission: Permission, delivery: Delivery): boolean {
  const held = principal.permissions.has(permission);
  if (principal.administrator) return held;
  if (delivery.ownerUserId === null) return held && projectAllowed(principal, delivery.projectId);
  return (held || principal.ownPermissions.has(permission)) && isOwn(principal, delivery);
}

/** The same as a condition on rows, for lists. */
export function deliveriesOf(principal: Principal, permission: Permission): Conditions {
  const { administrator, permissions, ownPermissions, projectIds } = principal;
  const held = permissions.has(permission);
  if (administrator && held) return [];
  const inProjects = projectIds === null ? { sql: 'true', params: [] } : oneOf('project_id', projectIds);
  const shared = {
    sql: `owner_user_id is null and (project_id is null or ${inProjects.sql})`,
    params: inProjects.params,
  };
  const both = [...(held ? [shared] : []), ...(held || ownPermissions.has(permission) ? [ownedBy(principal)] : [])];
  return [both.length > 0 ? anyOf(both) : { sql: 'false', params: [] }];
}

function anyOf(conditions: Conditions): Conditions[number] {
  const sql = `(${conditions.map((condition) => `(${condition.sql})`).join(' or ')})`;
  return { sql, params: conditions.flatMap((condition) => condition.params) };
}
