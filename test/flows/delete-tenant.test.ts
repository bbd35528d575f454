import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TenantState } from '../../gen/latchkey/v1/tenant_pb.ts';
import { WebhookMode } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { IntegrityError } from '../../src/crypto/sealed-value.ts';
import { SEALED_COLUMNS } from '../../src/domain/keys/sealed-columns.ts';
import { Housekeeper } from '../../src/jobs/housekeeper.ts';
import { AccountWorld, accountOf } from '../harness/accounts.ts';
import { authorizeAt, connect, setUp } from '../harness/authorizations.ts';
import { Browser } from '../harness/browser.ts';
import { bearer } from '../harness/credentials.ts';
import { asFailure, failureOf } from '../harness/errors.ts';
import { sendMessage, signedHeaders, signingSecret } from '../harness/inbound.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, clientsOf, transportTo } from '../harness/server.ts';
import { Watch } from '../harness/watching.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../harness/webhook-receiver.ts';

const SOON = { timeout: 20_000, interval: 25 };
const HOLDS = { timeout: 5_000, interval: 25 };
/** What has begun is waited for as long as a call may last. */
const MAX_CALL_MS = '5000';

describe('A tenant', () => {
  let world: AccountWorld;
  let provider: ScriptedProvider;
  let receiver: WebhookReceiver;
  let tenant: string;
  let admin: Clients;
  const secret = signingSecret();

  beforeAll(async () => {
    [world, provider, receiver] = await Promise.all([
      AccountWorld.start({ replicas: 2, env: { MAX_CALL_MS } }),
      ScriptedProvider.start(),
      startWebhookReceiver(() => ({ status: 503 })),
    ]);
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
    await Promise.all([provider.stop(), receiver[Symbol.asyncDispose]()]);
  });
  beforeEach(async () => {
    provider.reset();
    tenant = world.newTenant();
    admin = await world.as({ role: 'admin', subject: 'admin' });
    for (const { logLines } of world.servers) logLines.length = 0;
  });
  /** Nothing that the tenant left troubles anybody. */
  afterEach(() => {
    const lines = world.servers.flatMap(({ logLines }) => logLines.map((line) => JSON.parse(line)));
    expect(lines.filter(({ level }) => level >= 50)).toEqual([]);
  });

  const [one, two] = [0, 1].map((n) => () => world.servers[n]!.operator()) as [() => Clients, () => Clients];
  const remove = (immediately = false) =>
    one().access.deleteTenant({ tenantId: tenant, confirmTenantId: tenant, immediately });
  const stateOf = async () => {
    const [row] = await world.database.sql<{ state: string }>(
      'select state from latchkey.tenant where tenant_id = $1',
      [tenant],
    );
    return row?.state ?? 'GONE';
  };
  const runJobsNow = () =>
    world.database.sql(`update graphile_worker._private_jobs set run_at = now() where payload ->> 'tenantId' = $1`, [
      tenant,
    ]);
  /** In place of the time that what was under way may take. */
  async function isGone(): Promise<void> {
    await world.database.sql(
      `update latchkey.tenant set delete_time = delete_time - interval '1 hour' where tenant_id = $1`,
      [tenant],
    );
    await expect
      .poll(async () => {
        await runJobsNow();
        return stateOf();
      }, SOON)
      .toBe('GONE');
  }

  /** Rows of a tenant by table, of every table that has any. */
  async function rowsOf(tenantId: string): Promise<Record<string, number>> {
    const tables = await world.database.sql<{ name: string }>(
      `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
        where n.nspname = 'latchkey' and c.relkind = 'r' order by 1`,
    );
    const counts: Record<string, number> = {};
    for (const { name } of tables) {
      const found = await world.database.sql(`select from latchkey.${name} where tenant_id = $1`, [tenantId]);
      if (found.length > 0) counts[name] = found.length;
    }
    return counts;
  }

  /** Every sealed value of the tenant, with the place that it opens in. */
  async function sealedValues() {
    const values = await Promise.all(
      SEALED_COLUMNS.map(async ({ table, column, id, generation, place }) => {
        const rows = await world.database.sql<{ id: string; generation: number; value: Buffer }>(
          `select ${id} as id, ${generation} as generation, ${column} as value from latchkey.${table} where tenant_id = $1 and ${column} is not null`,
          [tenant],
        );
        return rows.map((row) => ({
          name: `${table}.${column}`,
          place: place(tenant, row.id, row.generation),
          value: row.value,
        }));
      }),
    );
    return values.flat();
  }

  /** One of everything that a tenant can have. */
  async function fill() {
    const integrationId = await setUp(admin, provider.definition('scripted'));
    const { connectionId } = await authorizeAt(admin, integrationId);
    await accountOf(admin);
    await admin.secrets.createSecret({ name: 's', value: 'v' });
    const { connection } = await admin.connections.createConnection({
      ...{ name: 'plain', baseUrl: receiver.url, credential: bearer('t'), requestId: 'r' },
      ...{ webhookSignatureSecret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' },
    });
    const { endpoint } = await admin.webhooks.createInboundEndpoint({
      ...{ name: 'in', signingSecrets: { secrets: [secret] } },
    });
    const { httpPort } = world.servers[0]!.replica;
    const message = () => sendMessage(httpPort, endpoint!.id, signedHeaders(secret, 'm', '{}'), '{}');
    expect((await message()).status).toBe(202);
    await admin.webhooks.createEndpoint({ url: `${receiver.url}/events`, eventTypes: { types: ['secret.*'] } });
    const request = { connectionId: connection!.id, path: '/', mode: WebhookMode.FIRE_AND_FORGET, attempts: 10 };
    await admin.webhooks.sendWebhook({ ...request, backoffMs: 60_000 });
    const { secret: key } = await admin.access.createApiKey({ displayName: 'k', scopes: ['*'] });
    const at = world.servers.map((server) => server.clients('grpc', { 'x-api-key': key }));
    for (const { connections } of at) await connections.getCredentials({ connectionId });
    return { integrationId, connectionId, message, at };
  }

  it('that is deleted is gone: at its providers, and to the last row; another is as it was', async () => {
    const { connectionId, at } = await fill();
    world.newTenant();
    const neighbour = await world.as({ role: 'admin', subject: 'admin' });
    const { connection } = await neighbour.connections.createConnection({ name: 'c', credential: bearer('t') });
    const account = await accountOf(neighbour);
    const { entries } = await neighbour.audit.listAuditEntries({ pageSize: 100 });
    const usernames = [...world.langflow.users.keys()];
    const before = Object.keys(await rowsOf(tenant));
    expect(before.length).toBeGreaterThan(20);

    const { tenant: deleted } = await remove();
    expect(deleted!.state).toBe(TenantState.DELETING);
    for (const { connections } of at)
      await expect
        .poll(() => failureOf(connections.getCredentials({ connectionId })).then(({ reason }) => reason), HOLDS)
        .toBe('CREDENTIALS_INVALID');
    // As it is, without a hand that hurries it.
    await expect.poll(stateOf, { timeout: 30_000 }).toBe('GONE');
    expect(await rowsOf(tenant)).toEqual({ deleted_tenant: 1 });
    const jobs = `select from graphile_worker._private_jobs where payload ->> 'tenantId' = $1`;
    await expect
      .poll(async () => {
        await runJobsNow();
        return (await world.database.sql(jobs, [tenant])).length;
      }, SOON)
      .toBe(0);
    expect(provider.to('/revoke').map(({ body }) => body.token)).toEqual([expect.stringMatching(/^rt-/)]);
    // One user there was the tenant's.
    expect(usernames.filter((name) => !world.langflow.users.has(name))).toHaveLength(1);

    expect(world.langflow.users.has(account.username)).toBe(true);
    expect((await neighbour.connections.getCredentials({ connectionId: connection!.id })).headers).toHaveLength(1);
    const now = await neighbour.audit.listAuditEntries({ pageSize: 100 });
    expect(now.entries.map(({ id }) => id)).toEqual(expect.arrayContaining(entries.map(({ id }) => id)));
  });

  it('is told of in the log of the operator: by whom, when, where its own ended, that nothing is left', async () => {
    await admin.secrets.createSecret({ name: 's', value: 'v' });
    const told = async () => {
      const { entries } = await one().audit.listAuditEntries({ resourceId: tenant });
      return entries.toReversed();
    };
    await remove();
    await isGone();
    const entries = await told();
    expect(entries.map(({ action, actorKind }) => [action, actorKind])).toEqual([
      ['tenant_deleted', expect.anything()],
      ['tenant_keys_destroyed', expect.anything()],
      ['tenant_erased', expect.anything()],
    ]);
    expect(entries[0]!.actorId).toMatch(/^key_/);
    expect(entries[0]!.address).not.toBe('');
    const { audit_head: head } = entries[1]!.after as { audit_head: string };
    // The making of tenant, user and secret, and the events of the deletion itself.
    expect(head).toMatch(new RegExp(`^${tenant}:[1-9][0-9]*:[0-9a-f]{64}$`));
    const { events } = await one().events.listEvents({
      filter: { types: ['tenant.deleted', 'tenant.erased'] },
      pageSize: 100,
    });
    expect(
      events
        .filter(({ aggregateId }) => aggregateId === tenant)
        .map(({ type }) => type)
        .sort(),
    ).toEqual(['tenant.deleted', 'tenant.erased']);
  });

  it('whose keys are destroyed opens nowhere any more, whatever replicas remembered and whatever was copied', async () => {
    await fill();
    const keyrings = world.servers.map(({ replica }) => replica.app.keyring);
    const values = await sealedValues();
    expect(new Set(values.map(({ name }) => name)).size).toBeGreaterThanOrEqual(9);
    for (const keyring of keyrings) for (const { place, value } of values) await keyring.open(place, value);
    expect((await remove(true)).tenant!.state).toBe(TenantState.ERASING);
    const [here, there] = keyrings as [(typeof keyrings)[0], (typeof keyrings)[0]];
    const open = (keyring: typeof here, { place, value }: (typeof values)[0]) =>
      keyring.open(place, value).then(
        () => 'open',
        (error) => error,
      );
    for (const value of values) expect(await open(here, value), value.name).toBeInstanceOf(IntegrityError);
    for (const value of values) await expect.poll(() => open(there, value), HOLDS).toBeInstanceOf(IntegrityError);
    // Nor is anything sealed anew, by whoever is late.
    for (const keyring of keyrings) await expect(keyring.sealer(tenant)).rejects.toThrow('no data key');
    expect(await world.database.sql('select from latchkey.data_key where tenant_id = $1', [tenant])).toEqual([]);
    await isGone();
    expect(await rowsOf(tenant)).toEqual({ deleted_tenant: 1 });
    expect(provider.count('/revoke')).toBe(0);
  });

  it('that cannot be given up at its provider is destroyed when its time has come', async () => {
    await fill();
    provider.answers('/revoke', { status: 503 });
    await remove();
    await expect.poll(() => provider.count('/revoke'), SOON).toBe(1);
    await expect
      .poll(() => world.database.sql('select from latchkey.connection where tenant_id = $1', [tenant]), SOON)
      .toEqual([]);
    expect(await stateOf()).toBe('DELETING');
    const listed = (await two().access.listTenants({ pageSize: 100 })).tenants.find(({ id }) => id === tenant);
    expect(listed).toMatchObject({ state: TenantState.DELETING });
    await runJobsNow();
    await expect.poll(() => provider.count('/revoke'), SOON).toBeGreaterThan(1);
    expect(await stateOf()).toBe('DELETING');
    await world.database.sql('update latchkey.tenant set erase_time = now() where tenant_id = $1', [tenant]);
    await runJobsNow();
    await isGone();
    expect(await rowsOf(tenant)).toEqual({ deleted_tenant: 1 });
  });

  it('is not forgotten, although its job is lost', async () => {
    await admin.secrets.createSecret({ name: 's', value: 'v' });
    await world.database.sql(
      `create function lose() returns trigger language plpgsql as $$ begin return null; end $$;
       create trigger lose before insert on graphile_worker._private_jobs for each row when (new.payload ->> 'tenantId' = '${tenant}') execute function lose()`,
    );
    await remove(true);
    await world.database.sql('drop trigger lose on graphile_worker._private_jobs; drop function lose()');
    expect(
      await world.database.sql(`select from graphile_worker._private_jobs where payload ->> 'tenantId' = $1`, [tenant]),
    ).toEqual([]);
    const housekeeper = new Housekeeper(world.servers[1]!.replica.app);
    await housekeeper.clean();
    expect(await stateOf()).toBe('ERASING');
    await world.database.sql(
      `update latchkey.tenant set erase_time = now() - interval '11 minutes' where tenant_id = $1`,
      [tenant],
    );
    await housekeeper.clean();
    await isGone();
  });

  it('is left by everything that lasts: streams, senders, people at a provider', async () => {
    const { integrationId, connectionId, message, at } = await fill();
    const watches = await Promise.all(at.map((clients) => Watch.start(clients)));
    const pending = await connect(admin, integrationId, 'pending');
    const browser = new Browser();
    const stopAt = `http://localhost:${world.servers[0]!.replica.httpPort}/oauth/callback`;
    const callback = await browser.goto(pending.url, { stopAt });
    await admin.connections.revokeConnection({ connectionId });
    const { reconnect_url: reconnect } = (await failureOf(admin.connections.getCredentials({ connectionId }))).metadata;
    const tokens = provider.count('/token');
    await remove();
    const deleted = performance.now();
    for (const { ended } of watches) expect(asFailure(await ended).reason).toBe('CREDENTIALS_INVALID');
    expect(performance.now() - deleted).toBeLessThan(HOLDS.timeout);
    expect((await message()).status).toBe(404);
    for (const url of [callback.url, pending.url, reconnect ?? ''])
      if (url) expect((await browser.goto(url)).status).toBe(400);
    expect(provider.count('/token')).toBe(tokens);
    await isGone();
    const sent = receiver.received.length;
    await expect.poll(stateOf).toBe('GONE');
    expect(receiver.received).toHaveLength(sent);
  });

  it('can be made anew by the operator alone, and has nothing of what was', async () => {
    await fill();
    await remove(true);
    await isGone();
    expect((await failureOf(admin.access.getMe({}))).reason).toBe('TENANT_DELETED');
    expect(await rowsOf(tenant)).toEqual({ deleted_tenant: 1 });
    expect((await failureOf(remove())).reason).toBe('TENANT_NOT_FOUND');
    expect((await one().access.createTenant({ tenantId: tenant })).tenant!.state).toBe(TenantState.ACTIVE);
    expect((await admin.connections.listConnections({})).connections).toEqual([]);
    await admin.secrets.createSecret({ name: 's', value: 'new' });
    expect((await admin.audit.listAuditEntries({ action: 'tenant_created' })).entries).toHaveLength(1);
    await remove(true);
    await isGone();
  });
});

describe('A tenant with hundreds of connections', () => {
  const CONNECTIONS = 200;

  it('goes whole, although the replica at it is killed twice in the middle', async () => {
    const replicas = await Replicas.create();
    try {
      const first = await replicas.start();
      const { database } = replicas;
      await operatorAt(first).access.createTenant({ tenantId: 'large' });
      const { secret } = await operatorAt(first).access.createApiKey({
        displayName: 'k',
        scopes: ['*'],
        tenantId: 'large',
      });
      const key = clientsOf(transportTo('grpc', first, { 'x-api-key': secret }));
      for (let n = 0; n < CONNECTIONS; n += 20)
        await Promise.all(
          Array.from({ length: 20 }, (_, k) =>
            key.connections.createConnection({ name: `c${n + k}`, credential: bearer('t') }),
          ),
        );
      const left = async (table: string) =>
        (await database.sql(`select from latchkey.${table} where tenant_id = 'large'`)).length;
      const takeOver = async () => {
        // In place of the time after which a replica counts as gone.
        await database.sql(`update latchkey.replica set heartbeat_time = now() - interval '1 hour'`);
        return replicas.start();
      };
      await operatorAt(first).access.deleteTenant({ tenantId: 'large', confirmTenantId: 'large' });
      await expect.poll(() => left('connection'), { ...SOON, interval: 5 }).toBeLessThan(CONNECTIONS - 20);
      await first.stop('SIGKILL');
      expect(await left('connection')).toBeGreaterThan(0);
      const second = await takeOver();
      await expect.poll(() => left('data_key'), { timeout: 40_000, interval: 5 }).toBe(0);
      await second.stop('SIGKILL');
      expect(await left('tenant')).toBe(1);
      await database.sql(`update latchkey.tenant set delete_time = delete_time - interval '1 hour'`);
      const third = await takeOver();
      await expect.poll(() => left('tenant'), { timeout: 40_000 }).toBe(0);
      for (const table of ['connection', 'credential', 'audit_entry', 'audit_seal', 'outbox', 'app_user', 'api_key'])
        expect(await left(table), table).toBe(0);
      expect(third.output).not.toMatch(/"level":[56]0/);
      const late = clientsOf(transportTo('grpc', third, { 'x-api-key': secret }));
      expect((await failureOf(late.access.getMe({}))).reason).toBe('CREDENTIALS_INVALID');
    } finally {
      await replicas.stop();
    }
  }, 120_000);
});
