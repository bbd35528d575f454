import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AuthifiFake, startAuthifi } from '../harness/authifi.ts';
import { bearer, clientCredentials } from '../harness/credentials.ts';
import { failureOf } from '../harness/errors.ts';
import type { ServerProcess } from '../harness/process.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { type Clients, TestServer } from '../harness/server.ts';

describe('A simulated system at two replicas', () => {
  let replicas: Replicas;
  let one: ServerProcess;
  let two: ServerProcess;
  beforeAll(async () => {
    replicas = await Replicas.create();
    [one, two] = await Promise.all([replicas.start(), replicas.start()]);
  });
  afterAll(() => replicas.stop());

  const execute = (replica: ServerProcess, connectorId: string, command: string, inputs: object = {}) =>
    operatorAt(replica).connectors.executeConnector({ connectorId, command, inputs: inputs as Record<string, string> });

  it('is one, loses no change of either, and survives the death of both', async () => {
    const { connector } = await operatorAt(one).connectors.createConnector({
      ...{ name: 'directory', type: 'test-activedirectory' },
    });
    const { id } = connector!;
    const account = (index: number) => ({ username: `u${index}`, password: 'Passw0rd!' });
    const made = await Promise.all(
      Array.from({ length: 24 }, (_, index) => execute([one, two][index % 2]!, id, 'createAccount', account(index))),
    );
    expect(made.every(({ success }) => success)).toBe(true);
    const total = async (replica: ServerProcess) => {
      const { data } = await execute(replica, id, 'listUsers');
      return (data as { total: number }).total;
    };
    expect(await Promise.all([one, two].map(total))).toEqual([33, 33]);
    await execute(one, id, 'resetPassword', { identity: 'u1', newPassword: 'Another-1' });
    const password = { identity: 'u1', password: 'Another-1' };
    expect(await execute(two, id, 'authenticate', password)).toMatchObject({ success: true });
    // One of two that make the same account at once finds it made.
    const twice = await Promise.all([one, two].map((replica) => execute(replica, id, 'createAccount', account(99))));
    expect(twice.map(({ success }) => success).sort()).toEqual([false, true]);

    await Promise.all([one, two].map((replica) => replica.stop('SIGKILL')));
    const three = await replicas.start();
    expect(await execute(three, id, 'authenticate', password)).toMatchObject({ success: true });
    expect(await total(three)).toBe(34);
  });

  it('is left whole where a replica dies in the middle of changes', async () => {
    const [dying, staying] = await Promise.all([replicas.start(), replicas.start()]);
    const { connector } = await operatorAt(staying).connectors.createConnector({ name: 'database', type: 'test-db' });
    const { id } = connector!;
    const rows = { name: 'p', price: 1, stock: 1 };
    const first = execute(dying, id, 'insert', { table: 'products', rows });
    const attempts = Array.from({ length: 30 }, () => execute(dying, id, 'insert', { table: 'products', rows }));
    const settled = Promise.allSettled(attempts);
    await first;
    await dying.stop('SIGKILL');
    const told = (await settled).filter(({ status }) => status === 'fulfilled').length + 1;
    const { data } = await execute(staying, id, 'query', { table: 'products' });
    const { total } = data as { total: number };
    expect(total).toBeGreaterThanOrEqual(4 + told);
    const [audited] = await replicas.database.sql<{ n: string }>(
      `select count(*) as n from latchkey.audit_entry where resource_id = $1 and action = 'connector_executed' and after->>'command' = 'insert'`,
      [id],
    );
    expect(Number(audited!.n)).toBe(total - 4);
    expect(await execute(staying, id, 'insert', { table: 'products', rows })).toMatchObject({ success: true });
  });
});

describe('The Authifi connector', () => {
  let server: TestServer;
  let authifi: AuthifiFake;
  let clients: Clients;
  beforeAll(async () => {
    server = await TestServer.start();
    authifi = await startAuthifi();
    clients = await server.as('admin', { tenant: 'groups' });
  });
  afterAll(async () => {
    await server.stop();
    await authifi[Symbol.asyncDispose]();
  });

  let made = 0;
  async function connect(credential = bearer(authifi.token)): Promise<string> {
    const fields = { name: `c${++made}`, baseUrl: authifi.url, credential, retries: 0 };
    return (await clients.connections.createConnection(fields)).connection!.id;
  }
  async function newConnector(config: Record<string, string | { [name: string]: string }>) {
    const request = { name: `authifi ${++made}`, type: 'authifi', config: { tenantId: 't1', ...config } };
    const { connector } = await clients.connectors.createConnector(request);
    const connectorId = connector!.id;
    return {
      connectorId,
      execute: (command: string, inputs: Record<string, string> = {}) =>
        clients.connectors.executeConnector({ connectorId, command, inputs }),
    };
  }

  it('lists, adds, removes and checks members, with a token that is fetched', async () => {
    const connectionId = await connect(clientCredentials({ tokenUrl: `${authifi.url}/token` }));
    const { connectorId, execute } = await newConnector({ connectionId });
    expect(await clients.connectors.testConnector({ connectorId })).toMatchObject({ success: true });
    expect((await execute('listGroups')).data).toMatchObject({ groups: [{ id: 'staff' }, { id: 'guests' }] });
    const eve = { groupId: 'staff', userId: 'eve@example.com' };
    expect((await execute('checkMembership', eve)).data).toEqual({ ...eve, isMember: false });
    expect((await execute('addMember', eve)).data).toEqual({ ...eve, isMember: true, changed: true });
    expect((await execute('addMember', eve)).data).toEqual({ ...eve, isMember: true, changed: false });
    expect((await execute('checkMembership', eve)).data).toEqual({ ...eve, isMember: true });
    expect((await execute('', { groupId: 'staff' })).data).toEqual({
      ...{ members: [{ id: 'ada' }, { id: 'bob' }, { id: 'eve@example.com' }], count: 3, truncated: false },
    });
    expect((await execute('removeMember', eve)).data).toEqual({ ...eve, isMember: false, changed: true });
    expect((await execute('removeMember', eve)).data).toEqual({ ...eve, isMember: false, changed: false });
    expect(authifi.groups.get('staff')).toEqual(new Set(['ada', 'bob']));
    expect(await execute('listMembers', { groupId: 'nobody' })).toMatchObject({
      ...{ success: false, error: 'the Admin API answered 404', data: { status: 404 } },
    });
  });

  it('goes where its settings say', async () => {
    const { execute } = await newConnector({
      ...{ connectionId: await connect(), baseUrl: `${authifi.url}/auth/admin/`, addMethod: 'POST' },
      ...{ addPath: 'tenants/{tenantId}/groups/{groupId}/users', addBody: { userId: '{userId}' } },
      ...{ membersPath: '/tenants/t1/groups/{groupId}/users', itemsPointer: '/items' },
    });
    expect((await execute('addMember', { groupId: 'guests', userId: 'x' })).data).toMatchObject({ changed: true });
    expect((await execute('listMembers', { groupId: 'guests' })).data).toMatchObject({ members: [{ id: 'x' }] });
    expect(authifi.requests.at(-1)?.path).toBe('/auth/admin/tenants/t1/groups/guests/users');
  });

  it('keeps ids what they are in paths, and stays on the hosts of the connection', async () => {
    const connectionId = await connect();
    const { execute } = await newConnector({ connectionId, baseUrl: authifi.url });
    const before = authifi.requests.length;
    for (const groupId of ['..', '.'])
      expect((await failureOf(execute('listMembers', { groupId }))).fields).toEqual(['inputs["groupId"]']);
    expect(authifi.requests).toHaveLength(before);
    await execute('listMembers', { groupId: '../../x?y#z' });
    expect(authifi.requests.at(-1)?.path).toBe('/auth/admin/tenants/t1/groups/..%2F..%2Fx%3Fy%23z/users');
    const elsewhere = await newConnector({ connectionId, baseUrl: 'https://elsewhere.example' });
    expect((await failureOf(elsewhere.execute('listGroups'))).reason).toBe('HOST_NOT_ALLOWED');
    const without = await newConnector({ connectionId, tenantId: '' });
    expect((await failureOf(without.execute('listGroups'))).fields).toEqual(['config["tenantId"]']);
  });

  it('answers what the other side does as a result', async () => {
    const refused = await newConnector({ connectionId: await connect(bearer('wrong-token')) });
    expect(await clients.connectors.testConnector({ connectorId: refused.connectorId })).toMatchObject({
      ...{ success: false, error: 'the Admin API answered 401', data: { status: 401 } },
    });
    const { execute } = await newConnector({ connectionId: await connect(), itemsPointer: '/total' });
    expect(await execute('listGroups')).toMatchObject({ success: false, error: 'the answer holds no list' });
  });
});
