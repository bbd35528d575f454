import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LOG_TABLES, TENANT_TABLES } from '../../src/domain/removal/tenant-tables.ts';
import { bearer } from '../harness/credentials.ts';
import { TestServer } from '../harness/server.ts';

/** Tables that belong to the installation, not to a tenant. */
const SHARED = ['installation', 'migration', 'outbox_relay', 'outbox_relayer', 'replica'];

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
  for (const tenant of ['one', 'two']) {
    const { connections, connectors, secrets } = await server.as('admin', { tenant });
    await connections.createConnection({ name: 'c', credential: bearer('t'), requestId: 'r' });
    await secrets.createSecret({ name: 's', value: 'v' });
    await connectors.createConnector({ name: 'c', type: 'test-db' });
    const token = {
      kind: { case: 'bearer' as const, value: { token: { source: { case: 'secretRef' as const, value: 's' } } } },
    };
    await connections.createConnection({ name: 'by reference', credential: token });
  }
});
afterAll(() => server.stop());

async function asService<T>(work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: server.database.url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function tenantTables(): Promise<string[]> {
  const rows = await server.database.sql<{ name: string }>(
    `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'latchkey' and c.relkind in ('r', 'p') and not c.relname = any ($1) order by 1`,
    [SHARED],
  );
  return rows.map((row) => row.name);
}

describe('Row-level security', () => {
  it('is on and forced for every table of a tenant, with a policy', async () => {
    const rows = await server.database.sql<{
      name: string;
      enabled: boolean;
      forced: boolean;
      policies: string;
      owner: string;
    }>(
      `select c.relname as name, c.relrowsecurity as enabled, c.relforcerowsecurity as forced, pg_get_userbyid(c.relowner) as owner,
         (select string_agg(p.polname, ',' order by p.polname) from pg_policy p where p.polrelid = c.oid) as policies
       from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'latchkey' and c.relkind in ('r', 'p')`,
    );
    const tables = rows.filter((row) => !SHARED.includes(row.name));
    expect(tables.length).toBe(34);
    for (const table of tables) {
      expect(table, table.name).toMatchObject({ enabled: true, forced: true });
      expect(table.policies, table.name).toContain('tenant_isolation');
      expect(['latchkey_service', 'latchkey_app', 'latchkey_router']).not.toContain(table.owner);
    }
    expect(rows.map((row) => row.name)).toEqual(expect.arrayContaining(SHARED));
  });

  it('is not bypassed or owned by the service', async () => {
    const roles = await server.database.sql(
      `select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname in ('latchkey_service', 'latchkey_router', 'latchkey_app')`,
    );
    expect(roles).toHaveLength(3);
    for (const role of roles)
      expect(role).toMatchObject({ rolsuper: false, rolbypassrls: false, rolcreaterole: false, rolcreatedb: false });
    const owned = await server.database.sql(
      `select c.relname from pg_class c where pg_get_userbyid(c.relowner) in ('latchkey_service', 'latchkey_app')
       union all select p.proname from pg_proc p where pg_get_userbyid(p.proowner) in ('latchkey_service', 'latchkey_app')`,
    );
    expect(owned).toEqual([]);
  });

  it('leads every primary and foreign key with the tenant', async () => {
    const keys = await server.database.sql<{ name: string; first: string; target: string | null }>(
      `select con.conrelid::regclass::text || '.' || con.conname as name, a.attname as first, con.confrelid::regclass::text as target
       from pg_constraint con join pg_class c on c.oid = con.conrelid join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = con.conrelid and a.attnum = con.conkey[1]
       where n.nspname = 'latchkey' and con.contype in ('p', 'f', 'u') and not c.relname = any ($1)`,
      [SHARED],
    );
    expect(keys.length).toBeGreaterThan(20);
    expect(keys.filter((key) => key.first !== 'tenant_id')).toEqual([]);
  });

  it('shows nothing without a tenant, and nothing of another with one, even to a query without a filter', async () => {
    const tables = await tenantTables();
    await asService(async (client) => {
      const count = async (table: string) =>
        Number((await client.query(`select count(*) as n from latchkey.${table}`)).rows[0].n);
      for (const table of tables) expect(await count(table), table).toBe(0);
      await client.query(
        `begin; select set_config('role', 'latchkey_service', true), set_config('latchkey.tenant', 'one', true)`,
      );
      const seen = await Promise.all(tables.map(async (table) => [table, await count(table)] as const));
      expect(Object.fromEntries(seen)).toMatchObject({
        connection: 2,
        secret: 1,
        connector: 1,
        connector_state: 1,
        credential: 2,
        credential_secret_ref: 1,
        tenant: 1,
        request_memo: 1,
      });
      for (const table of tables) {
        const { rows } = await client.query(`select count(*) as n from latchkey.${table} where tenant_id <> 'one'`);
        expect(Number(rows[0].n), table).toBe(0);
      }
      await client.query('commit');
      for (const table of tables) expect(await count(table), `${table} after the transaction`).toBe(0);
    });
  });

  it('lets nobody write into another tenant', async () => {
    await asService(async (client) => {
      await client.query(
        `begin; select set_config('role', 'latchkey_service', true), set_config('latchkey.tenant', 'one', true)`,
      );
      await expect(client.query(`update latchkey.connection set tenant_id = 'two'`)).rejects.toThrow(
        /row-level security/,
      );
      await client.query('rollback');
    });
  });

  it('lets the service neither change nor delete what the audit log and the outbox say', async () => {
    await asService(async (client) => {
      for (const statement of [
        'update latchkey.audit_entry set action = $$x$$',
        'delete from latchkey.audit_entry',
        'truncate latchkey.audit_entry',
        'update latchkey.audit_seal set hash = previous_hash',
        'delete from latchkey.audit_seal',
        'delete from latchkey.outbox',
      ]) {
        await client.query(
          `begin; select set_config('role', 'latchkey_service', true), set_config('latchkey.tenant', 'one', true)`,
        );
        await expect(client.query(statement), statement).rejects.toThrow(/permission denied/);
        await client.query('rollback');
      }
    });
  });

  it('removes no log of a tenant that still has its keys, nor ever the one of the operator', async () => {
    const entries = () => server.database.sql('select from latchkey.audit_entry');
    const before = await entries();
    await asService(async (client) => {
      for (const tenant of ['one', 'two', 'default']) {
        await client.query(
          `begin; select set_config('role', 'latchkey_service', true), set_config('latchkey.tenant', '${tenant}', true)`,
        );
        const erasing = client.query(`update latchkey.tenant set state = 'ERASING' where tenant_id = '${tenant}'`);
        if (tenant === 'default') {
          await expect(erasing).rejects.toThrow(/check constraint/);
          await client.query('rollback');
          continue;
        }
        await erasing;
        const { rows } = await client.query('select latchkey.erase_tenant_log($1, 100) as erased', [tenant]);
        expect(rows).toEqual([{ erased: 0 }]);
        await client.query('rollback');
      }
    });
    expect(await entries()).toHaveLength(before.length);
  });

  it('knows of every table how a tenant goes from it, those that refer to others first', async () => {
    const removed: readonly string[] = [...TENANT_TABLES, ...LOG_TABLES];
    expect([...removed, 'deleted_tenant', 'tenant'].sort()).toEqual((await tenantTables()).sort());
    const references = await server.database.sql<{ from: string; to: string }>(
      `select f.relname as from, t.relname as to from pg_constraint c join pg_class f on f.oid = c.conrelid join pg_class t on t.oid = c.confrelid
         join pg_namespace n on n.oid = f.relnamespace
        where n.nspname = 'latchkey' and c.contype = 'f' and c.confdeltype = 'a' and t.relname <> 'tenant'`,
    );
    expect(references.length).toBeGreaterThan(3);
    for (const { from, to } of references)
      expect(removed.indexOf(from), `${from}, ${to}`).toBeLessThan(removed.indexOf(to));
  });

  it('answers routing columns alone to those that start without a tenant', async () => {
    await asService(async (client) => {
      const { rows } = await client.query(`select * from latchkey.route_tenants('', false, 10, 0)`);
      expect(Object.keys(rows[0])).toEqual([
        ...['tenant_id', 'display_name', 'create_time', 'state', 'delete_time', 'erase_time', 'limits'],
      ]);
      await expect(client.query('select tenant_id from latchkey.api_key')).resolves.toMatchObject({ rowCount: 0 });
      const grants = await server.database.sql<{ column_name: string; table_name: string }>(
        `select table_name, column_name from information_schema.column_privileges where grantee = 'latchkey_router' group by 1, 2 order by 1, 2`,
      );
      expect(grants.map((grant) => `${grant.table_name}.${grant.column_name}`)).toEqual([
        'api_key.hash',
        'api_key.id',
        'api_key.tenant_id',
        'app_authorization.expire_time',
        'app_authorization.id',
        'app_authorization.state_hash',
        'app_authorization.status',
        'app_authorization.tenant_id',
        'app_authorization.ticket_hash',
        'audit_entry.id',
        'audit_entry.tenant_id',
        'audit_seal.first_sequence',
        'audit_seal.tenant_id',
        'audit_unsealed.entries',
        'audit_unsealed.queue_time',
        'audit_unsealed.tenant_id',
        'connection.id',
        'connection.last_used_at',
        'connection.status',
        'connection.tenant_id',
        'connection_health.check_due',
        'connection_health.connection_id',
        'connection_health.lease_until',
        'connection_health.tenant_id',
        'connection_usage.day',
        'connection_usage.tenant_id',
        'credential.attempt_id',
        'credential.attempt_time',
        'credential.connection_id',
        'credential.expire_time',
        'credential.expired_generation',
        'credential.expiry_warned',
        'credential.failing_since',
        'credential.failure_class',
        'credential.generation',
        'credential.keepalive_due',
        'credential.lease_until',
        'credential.refresh_due',
        'credential.refresh_expire_time',
        'credential.refresh_not_before',
        'credential.tenant_id',
        'data_key.tenant_id',
        'delivery.claims',
        'delivery.due_time',
        'delivery.id',
        'delivery.lane',
        'delivery.lease_epoch',
        'delivery.settle_time',
        'delivery.status',
        'delivery.tenant_id',
        'delivery.timeout_ms',
        'event_endpoint.enabled',
        'event_endpoint.failed_time',
        'event_endpoint.failing_since',
        'event_endpoint.id',
        'event_endpoint.tenant_id',
        'event_fan_out.lease_epoch',
        'event_fan_out.lease_until',
        'event_fan_out.position',
        'event_fan_out.tenant_id',
        'inbound_endpoint.id',
        'inbound_endpoint.tenant_id',
        'inbound_message.expire_time',
        'inbound_message.id',
        'inbound_message.tenant_id',
        'outbox.create_time',
        'outbox.id',
        'outbox.lane',
        'outbox.position',
        'outbox.seq',
        'outbox.tenant_id',
        'outbox_relay.lane',
        'outbox_relay.position',
        'provider_account.base_url',
        'provider_account.provider',
        'provider_account.remote_id',
        'provider_account.tenant_id',
        'rate_bucket.settle_time',
        'rate_bucket.tenant_id',
        'rate_window.tenant_id',
        'rate_window.times',
        'revocation.id',
        'revocation.settle_time',
        'revocation.tenant_id',
        'tenant.create_time',
        'tenant.delete_time',
        'tenant.display_name',
        'tenant.erase_time',
        'tenant.limits',
        'tenant.state',
        'tenant.tenant_id',
      ]);
    });
  });
});
