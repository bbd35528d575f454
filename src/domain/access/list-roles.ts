import { type NameOrder, type Page, type PageRequest, pageOf } from '../../db/paging.ts';
import type { Call } from '../call.ts';
import { ROLE_NAMES, ROLES, type RoleName, type RoleRules } from './permissions.ts';

/** The roles and what each permits. Fails with PAGE_TOKEN_INVALID. */
export function listRoles(
  call: Call,
  order: NameOrder,
  request: PageRequest,
): Page<{ name: RoleName; rules: RoleRules }> {
  const roles = ROLE_NAMES.map((name) => ({
    item: { name, rules: ROLES[name] },
    position: [name, ''] as [string, string],
  }));
  return pageOf(call.app.pageTokens, `roles ${call.principal.tenantId}`, roles, order, request);
}
