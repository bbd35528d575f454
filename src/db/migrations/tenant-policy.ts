/** Row-level security for a table every row of which belongs to a tenant, forced on the owner too. */
export function tenantPolicy(table: string): string {
  return `
alter table latchkey.${table} enable row level security;
alter table latchkey.${table} force row level security;
create policy tenant_isolation on latchkey.${table} to latchkey_service
  using (tenant_id = current_setting('latchkey.tenant', true)) with check (tenant_id = current_setting('latchkey.tenant', true));`;
}

/** Gives functions that must start without a tenant to the role that may read routing columns and nothing else. */
export function ownedByRouter(signatures: readonly string[]): string {
  return `
grant usage, create on schema latchkey to latchkey_router;
${signatures.map((signature) => `alter function latchkey.${signature} owner to latchkey_router;`).join('\n')}
revoke create on schema latchkey from latchkey_router;`;
}
