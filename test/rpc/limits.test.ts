import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DependencyStatus } from '../../gen/latchkey/v1/status_service_pb.ts';
import { connect } from '../harness/authorizations.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { asFailure, failureOf } from '../harness/errors.ts';
import { type Clients, TestServer } from '../harness/server.ts';

const FEW = { perSecond: 1, burst: 3 };

describeRpc('Limits of calls', ({ operator, server, tenant, transport, as }) => {
  const keyOf = async (rateLimit?: typeof FEW) => {
    const { secret, apiKey } = await operator().access.createApiKey({
      ...{ displayName: 'k', scopes: ['*'], tenantId: tenant() },
      ...(rateLimit && { rateLimit }),
    });
    return { clients: server().clients(transport, { authorization: `Bearer ${secret}` }), apiKey };
  };

  it('hold for every kind of call, and for none that is public', async () => {
    await operator().access.createTenant({ tenantId: tenant(), limits: { calls: FEW } });
    const { clients } = await keyOf();
    const eager = async () => {
      for (let call = 0; ; call++) {
        const failure = await clients.access.listRoles({}).then(
          () => null,
          (error: unknown) => asFailure(error),
        );
        if (failure) return { ...failure, call };
      }
    };
    const failure = await eager();
    expect(failure).toMatchObject({
      ...{ code: 'ResourceExhausted', reason: 'RATE_LIMITED' },
      metadata: { limit: 'tenant', calls: '1', window_s: '1' },
    });
    expect(failure.call).toBeGreaterThanOrEqual(3);
    expect(failure.retryAfterMs).toBeGreaterThan(0);
    const watch = async () => {
      for await (const _ of clients.events.watchEvents({})) return;
    };
    await eager();
    expect((await failureOf(watch())).reason).toBe('RATE_LIMITED');
    // Before the message is read.
    await eager();
    expect((await failureOf(clients.connections.getConnection({ connectionId: 'no id' }))).reason).toBe('RATE_LIMITED');
    expect((await clients.integrations.listProviders({})).providers.length).toBeGreaterThan(0);
    expect((await clients.status.getStatus({})).status).toBe(DependencyStatus.UP);
  });

  it('are each key’s and each user’s own', async () => {
    await operator().access.createTenant({ tenantId: tenant(), limits: { callsOfEach: FEW } });
    const [one, other] = [await keyOf(), await keyOf()];
    const user = await as('requestor');
    for (const { access } of [one.clients, user]) {
      const metadata = () =>
        access.listRoles({}).then(
          () => null,
          (error: unknown) => asFailure(error).metadata,
        );
      await expect.poll(metadata, { interval: 1 }).toMatchObject({ limit: 'caller', calls: '1' });
    }
    for (let call = 0; call < 3; call++) await other.clients.access.listRoles({});
  });

  it('are shown, and raised by the operator alone', async () => {
    const limits = { callsOfEach: FEW, maxConnections: 7 };
    const { tenant: made } = await operator().access.createTenant({ tenantId: tenant(), limits });
    expect(made?.limits).toMatchObject(limits);
    const { apiKey } = await keyOf({ perSecond: 500, burst: 0 });
    expect(apiKey?.rateLimit).toMatchObject({ perSecond: 500, burst: 0 });
    const admin = await as('admin');
    const key = { displayName: 'k', scopes: ['secret:read'] };
    for (const more of [{ perSecond: 2, burst: 3 }, { perSecond: 1, burst: 4 }, { perSecond: 0 }])
      expect(
        await failureOf(
          (await as('admin', { subject: `${more.perSecond}` })).access.createApiKey({ ...key, rateLimit: more }),
        ),
      ).toMatchObject({
        ...{ reason: 'PERMISSION_MISSING', metadata: { permission: 'tenant:manage' } },
      });
    const { apiKey: lower } = await admin.access.createApiKey({ ...key, rateLimit: { perSecond: 1, burst: 1 } });
    expect(lower?.rateLimit).toMatchObject({ perSecond: 1, burst: 1 });
    expect((await failureOf(admin.access.updateTenant({ tenantId: tenant() }))).reason).toBe('PERMISSION_MISSING');
  });

  it('change with UpdateTenant, which leaves the rest as it is', async () => {
    const { access } = operator();
    await access.createTenant({ tenantId: tenant(), displayName: 'one', limits: { maxConnections: 1 } });
    const { tenant: named } = await access.updateTenant({ tenantId: tenant(), displayName: 'two' });
    expect(named).toMatchObject({ displayName: 'two', limits: { maxConnections: 1 } });
    const { tenant: limited } = await access.updateTenant({ tenantId: tenant(), limits: { calls: FEW } });
    expect(limited).toMatchObject({ displayName: 'two', limits: { calls: FEW } });
    expect(limited?.limits?.maxConnections).toBeUndefined();
    expect((await failureOf(access.updateTenant({ tenantId: `${tenant()}-not` }))).reason).toBe('TENANT_NOT_FOUND');
    expect(
      (await failureOf(access.updateTenant({ tenantId: tenant(), limits: { calls: { perSecond: -1 } } }))).fields,
    ).toEqual(['limits.calls.per_second']);
  });
});

describeRpc('The limit of connections', ({ operator, tenant, as }) => {
  const limited = async (maxConnections: number): Promise<Clients> => {
    await operator().access.createTenant({ tenantId: tenant(), limits: { maxConnections } });
    return as('admin');
  };
  const create = ({ connections }: Clients, name: string) =>
    connections.createConnection({ name, credential: bearer('t') });

  it('counts connections that wait for a person, and imported ones, all or none', async () => {
    const admin = await limited(2);
    const { integration } = await admin.integrations.createIntegration({ provider: 'github' });
    const integrationId = integration!.id;
    await admin.integrations.setIntegrationCredentials({ integrationId, clientId: 'c', clientSecrets: ['s'] });
    await create(admin, 'one');
    const start = (name: string) => connect(admin, integrationId, name);
    await start('two');
    expect((await failureOf(start('three'))).reason).toBe('CONNECTION_LIMIT_REACHED');
    // It is begun anew, and is no other.
    await start('two');
    const { connections } = await admin.connections.listConnections({});
    await admin.connections.deleteConnection({ connectionId: connections[0]!.id });
    const document = { type: 'bearer', authConfig: { tokenRef: 'x' }, secretRefs: { x: 'y' }, secrets: { y: 't' } };
    const documents = ['a', 'b'].map((name) => ({ ...document, name, baseUrl: 'https://api.example' }));
    const failure = await failureOf(admin.connections.importConnections({ documents }));
    expect(failure).toMatchObject({ reason: 'CONNECTION_LIMIT_REACHED', metadata: { limit: '2' } });
    expect((await admin.connections.listConnections({})).connections).toHaveLength(1);
  });
});

describe('Credentials that are refused', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start({ env: { AUTH_FAILURES_PER_MINUTE: '5', TRUST_PROXY: '1' } });
  });
  afterAll(() => server.stop());

  it('make their network wait, but for those it is known by, and no other network', async () => {
    const from = (address: string, key: string) =>
      server.clients('grpc', { 'x-forwarded-for': address, 'x-api-key': key });
    const { secret } = await server.operator().access.createApiKey({ displayName: 'k', scopes: ['*'] });
    await from('2001:db8::1', secret).access.listRoles({});
    const guess = (n: number) => from(`2001:db8::${n}`, `wrong ${n}`).access.listRoles({});
    for (let n = 1; n <= 5; n++) expect((await failureOf(guess(n))).reason).toBe('CREDENTIALS_INVALID');
    const failure = await failureOf(guess(6));
    expect(failure).toMatchObject({
      ...{ reason: 'RATE_LIMITED', metadata: { limit: 'address', calls: '5', window_s: '60' } },
    });
    expect(failure.retryAfterMs).toBeGreaterThan(1_000);
    await from('2001:db8::1', secret).access.listRoles({});
    expect((await failureOf(from('2001:db8:0:1::1', 'wrong').access.listRoles({}))).reason).toBe('CREDENTIALS_INVALID');
  });
});
