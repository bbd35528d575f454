import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { ConnectorValueType, ExecutionModel } from '../../gen/latchkey/v1/connector_pb.ts';
import {
  ConnectorOrder,
  type CreateConnectorRequestSchema,
  type ExecuteConnectorRequestSchema,
} from '../../gen/latchkey/v1/connector_service_pb.ts';
import { newId } from '../../src/base/id.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { asFailure, failureOf } from '../harness/errors.ts';
import { type Receiver, startReceiver } from '../harness/receiver.ts';
import type { Clients } from '../harness/server.ts';

type NewConnector = Omit<MessageInitShape<typeof CreateConnectorRequestSchema>, '$typeName' | '$unknown'>;
type Execution = Omit<MessageInitShape<typeof ExecuteConnectorRequestSchema>, '$typeName' | '$unknown'>;

const PASSWORD = 'Passw0rd!';
const people = 'ou=people,dc=example,dc=com';

let made = 0;
async function newConnector({ connectors }: Clients, type: string, other: NewConnector = {}): Promise<string> {
  const { connector } = await connectors.createConnector({ name: `${type} ${++made}`, type, ...other });
  return connector!.id;
}

/** Executes commands of one connector; answers what they answer. */
function commandsOf({ connectors }: Clients, connectorId: string) {
  return (command: string, inputs: Execution['inputs'] = {}, other: Execution = {}) =>
    connectors.executeConnector({ connectorId, command, inputs, ...other });
}

describeRpc('ConnectorService', ({ as, server, tenant, transport, operator }) => {
  const keyWith = async (scopes: string[], projectIds: string[] = []) => {
    const { access } = await as('admin');
    const { secret } = await access.createApiKey({ displayName: 'k', scopes, projectIds });
    return server().clients(transport, { authorization: `Bearer ${secret}` });
  };

  it('tells the types, with what their commands take', async () => {
    const { connectors } = await as('admin');
    const { types, totalSize } = await connectors.listConnectorTypes({ withTotalSize: true });
    expect(totalSize).toBe(6);
    expect(types.map(({ name, defaultCommand }) => `${name} ${defaultCommand}`)).toEqual([
      ...['authifi listMembers', 'delay wait', 'http request', 'test-activedirectory findUser', 'test-db query'],
      'test-ldap search',
    ]);
    for (const type of types) {
      expect(type).toMatchObject({ version: '1.0.0', executionModel: ExecutionModel.BUILT_IN });
      expect(type.commands.map(({ name }) => name)).toEqual(expect.arrayContaining(['test', type.defaultCommand]));
    }
    const commands = (wanted: string) => types.find(({ name }) => name === wanted)!.commands.map(({ name }) => name);
    expect(commands('test-ldap')).toEqual(['test', 'search', 'bind', 'add', 'modify', 'delete', 'reset']);
    expect(commands('test-db')).toEqual(['test', 'query', 'insert', 'update', 'delete', 'list-tables', 'reset']);
    expect(commands('test-activedirectory')).toEqual([
      ...['test', 'findUser', 'findGroup', 'authenticate', 'getGroupMembers', 'enableAccount', 'disableAccount'],
      ...['addToGroup', 'removeFromGroup', 'resetPassword', 'listUsers', 'listGroups', 'checkGroupMembership'],
      ...['checkAccountExists', 'createAccount', 'reset'],
    ]);
    const wait = types.find(({ name }) => name === 'delay')!.commands.find(({ name }) => name === 'wait')!;
    expect(wait.inputs).toMatchObject([
      { name: 'durationMs', types: [ConnectorValueType.INTEGER], required: true, minimum: 0, maximum: 3_600_000 },
    ]);
    const scope = types.at(-1)!.commands[1]!.inputs.find(({ name }) => name === 'scope');
    expect(scope).toMatchObject({
      ...{ choices: ['base', 'one', 'sub'], defaultValue: { kind: { case: 'stringValue', value: 'sub' } } },
    });
  });

  it('pages types', async () => {
    const { connectors } = await as('admin');
    const first = await connectors.listConnectorTypes({ pageSize: 4 });
    const rest = await connectors.listConnectorTypes({ pageSize: 4, pageToken: first.nextPageToken });
    expect([first.types.length, rest.types.length, rest.nextPageToken]).toEqual([4, 2, '']);
    const skipped = await connectors.listConnectorTypes({ pageSize: 4, skip: 4 });
    expect(skipped.types.map(({ name }) => name)).toEqual(rest.types.map(({ name }) => name));
    const failure = await failureOf(connectors.listConnectorTypes({ pageToken: 'x' }));
    expect(failure.reason).toBe('PAGE_TOKEN_INVALID');
  });

  it('makes, answers, changes and deletes a connector, and records each', async () => {
    const { connectors, audit, events } = await as('admin');
    const config = { simulateFailure: 'canary-in-config' };
    const { connector } = await connectors.createConnector({
      ...{ name: 'directory', type: 'test-ldap', executionModel: ExecutionModel.BUILT_IN, config },
    });
    expect(connector).toMatchObject({
      ...{ name: 'directory', displayName: 'directory', type: 'test-ldap', projectId: '', config, etag: 'v1' },
      executionModel: ExecutionModel.BUILT_IN,
    });
    const connectorId = connector!.id;
    expect((await connectors.getConnector({ connectorId })).connector).toEqual(connector);
    const stale = { connectorId, etag: 'v0', name: 'other' };
    expect(await failureOf(connectors.updateConnector(stale))).toMatchObject({
      ...{ code: 'Aborted', reason: 'ETAG_MISMATCH' },
    });
    const { connector: changed } = await connectors.updateConnector({
      ...{ connectorId, etag: 'v1', displayName: 'Directory', config: {} },
    });
    expect(changed).toMatchObject({ name: 'directory', displayName: 'Directory', config: {}, etag: 'v2' });
    const renamed = await connectors.updateConnector({ connectorId, name: 'renamed' });
    expect(renamed.connector).toMatchObject({ name: 'renamed', displayName: 'Directory', config: {} });
    expect(await failureOf(connectors.deleteConnector({ connectorId, etag: 'v2' }))).toMatchObject({
      reason: 'ETAG_MISMATCH',
    });
    await connectors.deleteConnector({ connectorId, etag: 'v3' });
    expect((await failureOf(connectors.getConnector({ connectorId }))).reason).toBe('CONNECTOR_NOT_FOUND');
    const rows = await server().database.sql('select from latchkey.connector_state where connector_id = $1', [
      connectorId,
    ]);
    expect(rows).toEqual([]);
    const { entries } = await audit.listAuditEntries({ resourceId: connectorId });
    expect(entries.map(({ action }) => action).filter((action) => action !== 'access_refused')).toEqual([
      ...['connector_deleted', 'connector_updated', 'connector_updated', 'connector_created'],
    ]);
    const told = await events.listEvents({ filter: { aggregateType: 'connector' } });
    expect(told.events.map(({ type }) => type)).toEqual([
      ...['connector.deleted', 'connector.updated', 'connector.updated', 'connector.created'],
    ]);
    const everything = JSON.stringify([entries, told.events], (_, value) =>
      typeof value === 'bigint' ? String(value) : value,
    );
    expect(everything + server().logLines.join('')).not.toContain('canary-in-config');
  });

  it('keeps names unique in a project, and makes one connector of a repeated request_id', async () => {
    const { connectors } = await as('admin');
    const request = { name: 'same', type: 'delay' };
    const [first, second] = await Promise.all(
      [1, 2].map(() => connectors.createConnector({ ...request, requestId: 'r-1' })),
    );
    expect(first!.connector!.id).toBe(second!.connector!.id);
    const other = connectors.createConnector({ ...request, type: 'test-db', requestId: 'r-1' });
    expect(await failureOf(other)).toMatchObject({ code: 'AlreadyExists', reason: 'REQUEST_ID_REUSED' });
    expect(await failureOf(connectors.createConnector(request))).toMatchObject({
      ...{ code: 'AlreadyExists', reason: 'CONNECTOR_NAME_TAKEN', metadata: { name: 'same' } },
    });
    await connectors.createConnector({ ...request, projectId: 'p1' });
    const { connector } = await connectors.createConnector({ name: 'free', type: 'delay' });
    const taken = connectors.updateConnector({ connectorId: connector!.id, name: 'same' });
    expect((await failureOf(taken)).reason).toBe('CONNECTOR_NAME_TAKEN');
    const elsewhere = await as('admin', { tenant: `${tenant()}-other` });
    await elsewhere.connectors.createConnector(request);
  });

  it('lists with pages, skip, orders and filters', async () => {
    const { connectors } = await as('admin');
    for (const name of ['b', 'd', 'a']) await connectors.createConnector({ name, type: 'delay' });
    await connectors.createConnector({ name: 'c', type: 'test-db', projectId: 'p1' });
    const names = async (request: Parameters<typeof connectors.listConnectors>[0]) =>
      (await connectors.listConnectors(request)).connectors.map(({ name }) => name);
    expect(await names({})).toEqual(['c', 'a', 'd', 'b']);
    expect(await names({ order: ConnectorOrder.CREATE_TIME_ASC, skip: 1, pageSize: 2 })).toEqual(['d', 'a']);
    expect(await names({ projectId: 'p1' })).toEqual(['c']);
    expect(await names({ projectId: '', order: ConnectorOrder.NAME_ASC })).toEqual(['a', 'b', 'd']);
    expect(await names({ type: 'test-db' })).toEqual(['c']);
    const first = await connectors.listConnectors({ order: ConnectorOrder.NAME_ASC, pageSize: 3, withTotalSize: true });
    expect([first.connectors.length, first.totalSize]).toEqual([3, 4]);
    const token = { pageSize: 3, pageToken: first.nextPageToken };
    expect(await names({ ...token, order: ConnectorOrder.NAME_ASC })).toEqual(['d']);
    expect((await failureOf(connectors.listConnectors(token))).reason).toBe('PAGE_TOKEN_INVALID');
    const elsewhere = await as('admin', { tenant: `${tenant()}-other` });
    expect((await elsewhere.connectors.listConnectors({})).connectors).toEqual([]);
  });

  it('says what is wrong with a config', async () => {
    const { connectors } = await as('admin');
    const wrong: [string, NewConnector['config'], string][] = [
      ['test-ldap', { simulateFailure: 5 }, 'config["simulateFailure"]'],
      ['test-ldap', { unknown: 1 }, 'config["unknown"]'],
      ['test-ldap', { password: PASSWORD }, 'config["password"]'],
      ['test-ldap', { scope: 'everything' }, 'config["scope"]'],
      ['delay', { durationMs: 1.5 }, 'config["durationMs"]'],
      ['delay', { durationMs: -1 }, 'config["durationMs"]'],
      ['delay', { constructor: 1 }, 'config["constructor"]'],
      ['http', { headers: { a: 1 } }, 'config["headers"]["a"]'],
      ['http', { path: 'x'.repeat(8_193) }, 'config["path"]'],
      ['http', { body: { text: 'x'.repeat(70_000) } }, 'config'],
    ];
    for (const [type, config, field] of wrong) {
      const failure = await failureOf(connectors.createConnector({ name: 'x', type, config: config! }));
      expect(failure, field).toMatchObject({ code: 'InvalidArgument', reason: 'FIELD_INVALID', fields: [field] });
    }
    expect(await failureOf(connectors.createConnector({ name: 'x', type: 'slack' }))).toMatchObject({
      ...{ code: 'NotFound', reason: 'CONNECTOR_TYPE_NOT_FOUND', metadata: { type: 'slack' } },
    });
    const connectionId = newId('conn');
    const unknown = connectors.createConnector({ name: 'x', type: 'http', config: { connectionId } });
    expect(await failureOf(unknown)).toMatchObject({ reason: 'CONNECTION_NOT_FOUND' });
    // What holds variables is checked when they are there.
    await connectors.createConnector({ name: 'x', type: 'delay', config: { durationMs: '{{wait}}' } });
  });

  it('executes the examples of simulated failures as they stand', async () => {
    const clients = await as('admin');
    const { connectors } = clients;
    await connectors.createConnector({ name: 'test-ldap', type: 'test-ldap' });
    await connectors.createConnector({ name: 'test-db', type: 'test-db' });
    const execute = (config: NonNullable<Execution['config']>) => connectors.executeConnector({ config });
    const ldap = { connectorName: 'test-ldap', command: 'search' };
    expect(await execute({ ...ldap, simulateFailure: true })).toMatchObject({
      ...{ success: false, error: 'Simulated failure (test-ldap connector)', command: 'search' },
    });
    const refused = { connectorName: 'test-db', command: 'query', simulateFailure: 'Connection refused' };
    expect(await execute(refused)).toMatchObject({ success: false, error: 'Connection refused' });
    for (const simulateFailure of [false, '', null])
      expect(await execute({ ...ldap, simulateFailure })).toMatchObject({ success: true, error: '' });
    expect(await execute(ldap)).toMatchObject({ success: true });
    const id = await newConnector(clients, 'test-activedirectory', { config: { simulateFailure: true } });
    expect(await connectors.testConnector({ connectorId: id })).toMatchObject({
      ...{ success: false, error: 'Simulated failure (test-activedirectory connector)' },
    });
    const overridden = { connectorId: id, command: 'listGroups', config: { simulateFailure: false } };
    expect(await connectors.executeConnector(overridden)).toMatchObject({ success: true });
  });

  it('finds a connector by its name in its project, and says when a name does not fit', async () => {
    const clients = await as('admin');
    const id = await newConnector(clients, 'delay', { name: 'pause', projectId: 'p1', config: { durationMs: 0 } });
    const { connectors } = clients;
    const config = { connectorName: 'pause' };
    expect((await connectors.executeConnector({ projectId: 'p1', config })).data).toMatchObject({
      waitedMs: expect.any(Number),
    });
    expect(await failureOf(connectors.executeConnector({ config }))).toMatchObject({
      ...{ code: 'NotFound', reason: 'CONNECTOR_NOT_FOUND', metadata: { name: 'pause' } },
    });
    for (const connectorName of ['pause', 'delay'])
      await connectors.executeConnector({ connectorId: id, config: { connectorName } });
    const other = connectors.executeConnector({ connectorId: id, config: { connectorName: 'http' } });
    expect((await failureOf(other)).fields).toEqual(['config["connectorName"]']);
    const long = connectors.executeConnector({ config: { connectorName: 'x'.repeat(256) } });
    expect((await failureOf(long)).fields).toEqual(['config["connectorName"]']);
    expect((await failureOf(connectors.executeConnector({}))).fields).toEqual(['connector_id']);
  });

  it('says what is wrong with what a command is given', async () => {
    const clients = await as('admin');
    const execute = commandsOf(clients, await newConnector(clients, 'test-ldap'));
    const wrong: [string, Execution['inputs'], Execution, string][] = [
      ['nothing', {}, {}, 'command'],
      ['search', { unknown: 1 }, {}, 'inputs["unknown"]'],
      ['search', { simulateFailure: true }, {}, 'inputs["simulateFailure"]'],
      ['search', {}, { config: { dn: 'x=y' } }, 'config["dn"]'],
      ['search', {}, { config: { command: 7 } }, 'config["command"]'],
      ['search', { sizeLimit: '5' }, {}, 'inputs["sizeLimit"]'],
      ['search', { sizeLimit: 1_001 }, {}, 'inputs["sizeLimit"]'],
      ['search', { filter: '(uid=a' }, {}, 'inputs["filter"]'],
      ['search', { baseDn: 'nothing' }, {}, 'inputs["baseDn"]'],
      ['search', { filter: '(uid={{who}})' }, {}, 'variables["who"]'],
      ['bind', { dn: 'cn=admin,dc=example,dc=com' }, {}, 'inputs["password"]'],
      ['bind', { dn: null, password: 'x' }, {}, 'inputs["dn"]'],
      [
        'modify',
        { dn: people, changes: [{ operation: 'more', attribute: 'ou' }] },
        {},
        'inputs["changes"][0].operation',
      ],
      ['add', { dn: `uid=x,${people}`, entry: { '': 'x' } }, {}, 'inputs["entry"]'],
      ['add', { dn: `uid=x,${people}`, entry: { mail: 'x', MAIL: 'y' } }, {}, 'inputs["entry"]'],
      ['add', { dn: `userPassword=x,${people}`, entry: {} }, {}, 'inputs["dn"]'],
      ['test', {}, { variables: { big: 'x'.repeat(300_000) } }, 'variables'],
    ];
    for (const [command, inputs, other, field] of wrong) {
      const failure = await failureOf(execute(command, inputs, other));
      expect(failure, field).toMatchObject({ code: 'InvalidArgument', reason: 'FIELD_INVALID', fields: [field] });
    }
  });

  it('answers, changes and resets a simulated directory', async () => {
    const clients = await as('admin');
    const execute = commandsOf(clients, await newConnector(clients, 'test-ldap'));
    const found = async (filter: string, other: object = {}) => {
      const { data } = await execute('search', { filter, attributes: ['uid', 'mail'], ...other });
      return (data as { entries: { dn: string; attributes: object }[] }).entries;
    };
    expect(await found('(&(objectClass=person)(uid=asmith))')).toEqual([
      { dn: `uid=asmith,${people}`, attributes: { uid: ['asmith'], mail: ['asmith@example.com'] } },
    ]);
    expect(await found('(objectClass=*)', { baseDn: people, scope: 'one' })).toHaveLength(9);
    expect(await found('(objectClass=*)', { baseDn: people, scope: 'base' })).toHaveLength(1);
    const nowhere = await execute('search', { baseDn: 'dc=nowhere' });
    expect(nowhere).toMatchObject({ success: false, data: { resultCode: 32 }, error: 'there is no such base' });

    const dn = `uid=zoe,${people}`;
    const entry = { objectClass: 'inetOrgPerson', cn: 'Zoe', sn: 'Z', userPassword: 'canary-7a1f' };
    expect(await execute('add', { dn, entry })).toMatchObject({ success: true, data: { dn } });
    expect(await execute('add', { dn: dn.toUpperCase(), entry })).toMatchObject({ data: { resultCode: 68 } });
    expect(await execute('bind', { dn, password: 'canary-7a1f' })).toMatchObject({ success: true });
    expect(await execute('bind', { dn, password: 'wrong' })).toMatchObject({
      success: false,
      data: { resultCode: 49 },
    });
    expect(await execute('bind', { dn: `uid=asmith,${people}`, password: PASSWORD })).toMatchObject({ success: true });
    expect(await found('(userPassword=*)')).toEqual([]);
    const all = await execute('search', { filter: '(uid=zoe)' });
    expect(JSON.stringify(all.data)).not.toMatch(/userPassword|canary/i);

    const changes = [
      { operation: 'add', attribute: 'mail', values: ['zoe@example.com', 'z@example.com'] },
      { operation: 'delete', attribute: 'MAIL', values: ['z@example.com'] },
      { operation: 'replace', attribute: 'userPassword', values: ['canary-7a1f-2'] },
    ];
    expect(await execute('modify', { dn, changes })).toMatchObject({ success: true });
    expect(await found('(mail=ZOE@*)')).toMatchObject([{ attributes: { mail: ['zoe@example.com'] } }]);
    expect(await execute('bind', { dn, password: 'canary-7a1f' })).toMatchObject({ success: false });
    const half = [
      { operation: 'replace', attribute: 'title', values: ['Lead'] },
      { operation: 'delete', attribute: 'pager', values: [] },
    ];
    expect(await execute('modify', { dn, changes: half })).toMatchObject({ success: false, data: { resultCode: 16 } });
    expect(await found('(title=Lead)')).toEqual([]);
    const renaming = [{ operation: 'replace', attribute: 'uid', values: ['other'] }];
    expect(await execute('modify', { dn, changes: renaming })).toMatchObject({ data: { resultCode: 67 } });
    expect(await execute('delete', { dn: people })).toMatchObject({ success: false, data: { resultCode: 66 } });
    expect(await execute('delete', { dn })).toMatchObject({ success: true });
    expect(await execute('delete', { dn })).toMatchObject({ success: false, data: { resultCode: 32 } });

    await execute('delete', { dn: `uid=asmith,${people}` });
    expect(await found('(uid=asmith)')).toEqual([]);
    await execute('reset');
    expect(await found('(uid=asmith)')).toHaveLength(1);
    const { entries } = await clients.audit.listAuditEntries({});
    const told = JSON.stringify(entries, (_, value) => (typeof value === 'bigint' ? String(value) : value));
    expect(told + server().logLines.join('')).not.toContain('canary-7a1f');
  });

  it('keeps variables what they are within a filter', async () => {
    const clients = await as('admin');
    const execute = commandsOf(clients, await newConnector(clients, 'test-ldap'));
    const search = (uid: string) =>
      execute('search', { filter: '(uid={{user.name}})' }, { variables: { user: { name: uid } } });
    expect((await search('asmith')).data).toMatchObject({ count: 1 });
    expect((await search('*')).data).toMatchObject({ count: 0 });
    expect((await search('*)(objectClass=*')).data).toMatchObject({ count: 0 });
    const limited = await execute('search', { sizeLimit: '{{most}}' }, { variables: { most: 2 } });
    expect(limited.data).toMatchObject({ count: 2, truncated: true });
    const failure = await failureOf(execute('search', { sizeLimit: '{{most}}' }, { variables: { most: 'two' } }));
    expect(failure.fields).toEqual(['inputs["sizeLimit"]']);
  });

  it('answers and changes a simulated database', async () => {
    const clients = await as('admin');
    const execute = commandsOf(clients, await newConnector(clients, 'test-db', { config: { table: 'customers' } }));
    const rows = async (inputs: Execution['inputs']) => ((await execute('', inputs)).data as { rows: object[] }).rows;
    expect(await rows({ columns: ['name'], where: { city: 'Paris' } })).toEqual([{ name: 'Globex' }]);
    const expensive = { table: 'orders', where: [{ column: 'total', operator: '>=', value: 300 }], columns: ['id'] };
    expect(await rows({ ...expensive, orderBy: [{ column: 'total', direction: 'desc' }], limit: 2 })).toEqual([
      ...[{ id: 5 }, { id: 2 }],
    ]);
    expect(await rows({ where: { city: null }, columns: ['name'] })).toEqual([{ name: 'Umbrella' }]);
    const injected = [{ column: 'name', operator: '=', value: "x' or '1'='1" }];
    expect(await rows({ where: injected })).toEqual([]);
    expect(await execute('', { table: 'nothing' })).toMatchObject({
      ...{ success: false, error: 'relation "nothing" does not exist' },
    });
    expect(await execute('', { columns: ['__proto__'] })).toMatchObject({
      ...{ success: false, error: 'column "__proto__" does not exist' },
    });
    expect((await failureOf(execute('', { where: [{ column: 'id', operator: 'like', value: 1 }] }))).fields).toEqual([
      'inputs["where"][0].operator',
    ]);

    const row = { name: 'New', email: 'n@new.example', active: true };
    expect((await execute('insert', { rows: [row, { ...row, city: 'Rome' }] })).data).toEqual({
      ...{ rowCount: 2, keys: [6, 7] },
    });
    expect(await execute('insert', { rows: { ...row, id: 6 } })).toMatchObject({
      ...{ success: false, error: 'duplicate key value violates unique constraint "customers_pkey"' },
    });
    expect(await execute('insert', { rows: [row, { name: 'No mail', active: true }] })).toMatchObject({
      ...{ success: false, error: 'null value in column "email" violates not-null constraint' },
    });
    expect(await execute('update', { set: { active: 'yes' }, where: {} })).toMatchObject({ success: false });
    expect((await execute('update', { set: { city: 'Oslo' }, where: { name: 'New' } })).data).toEqual({ rowCount: 2 });
    expect((await execute('delete', { where: { city: 'Oslo' } })).data).toEqual({ rowCount: 2 });
    const { data } = await execute('list-tables');
    expect(data).toMatchObject({
      tables: [{ name: 'customers', rowCount: 5 }, { name: 'products' }, { name: 'orders' }],
    });
    expect((await failureOf(execute('delete'))).fields).toEqual(['inputs["where"]']);
  });

  it('answers and changes a simulated Active Directory', async () => {
    const clients = await as('admin');
    const execute = commandsOf(clients, await newConnector(clients, 'test-activedirectory'));
    const user = { identity: 'bjones' };
    expect((await execute('', { identity: 'BJones@example.com' })).data).toMatchObject({
      user: { sAMAccountName: 'bjones', enabled: true, memberOf: ['CN=engineering,OU=Groups,DC=example,DC=com'] },
    });
    expect(await execute('findUser', { identity: 'nobody' })).toMatchObject({
      success: false,
      error: 'there is no such user',
    });
    expect((await execute('findGroup', { group: 'VPN-users' })).data).toMatchObject({ group: { memberCount: 3 } });
    expect(await execute('authenticate', { ...user, password: PASSWORD })).toMatchObject({ success: true });
    expect(await execute('authenticate', { ...user, password: 'x' })).toMatchObject({ error: 'invalid credentials' });
    expect(await execute('authenticate', { identity: 'iivanova', password: PASSWORD })).toMatchObject({
      ...{ success: false, error: 'the account is disabled' },
    });
    expect((await execute('enableAccount', { identity: 'iivanova' })).data).toMatchObject({
      enabled: true,
      changed: true,
    });
    expect(await execute('authenticate', { identity: 'iivanova', password: PASSWORD })).toMatchObject({
      success: true,
    });
    expect((await execute('disableAccount', user)).data).toMatchObject({ enabled: false, changed: true });
    const inGroup = { ...user, group: 'vpn-users' };
    const isMember = async () => (await execute('checkGroupMembership', inGroup)).data;
    expect(await isMember()).toEqual({ isMember: false });
    expect((await execute('addToGroup', inGroup)).data).toMatchObject({ isMember: true, changed: true });
    expect((await execute('addToGroup', inGroup)).data).toMatchObject({ changed: false });
    expect(await isMember()).toEqual({ isMember: true });
    expect((await execute('getGroupMembers', { group: 'vpn-users' })).data).toMatchObject({ count: 4, total: 4 });
    expect((await execute('removeFromGroup', inGroup)).data).toMatchObject({ isMember: false, changed: true });
    expect(await execute('resetPassword', { ...user, newPassword: 'short' })).toMatchObject({ success: false });
    expect(await execute('resetPassword', { ...user, newPassword: 'canary-New-1' })).toMatchObject({ success: true });
    await execute('enableAccount', user);
    expect(await execute('authenticate', { ...user, password: 'canary-New-1' })).toMatchObject({ success: true });
    const account = {
      username: 'zoe',
      password: 'canary-Zoe-1',
      givenName: 'Zoe',
      surname: 'Zed',
      department: 'Research',
    };
    const created = await execute('createAccount', account);
    expect(created.data).toMatchObject({ user: { displayName: 'Zoe Zed', mail: 'zoe@example.com', enabled: true } });
    expect(await execute('createAccount', { ...account, username: 'ZOE' })).toMatchObject({ success: false });
    expect((await failureOf(execute('createAccount', { ...account, username: 'a,b' }))).fields).toEqual([
      'inputs["username"]',
    ]);
    expect((await execute('checkAccountExists', { identity: 'zoe' })).data).toEqual({ exists: true });
    expect((await execute('checkAccountExists', { identity: 'yan' })).data).toEqual({ exists: false });
    const research = await execute('listUsers', { department: 'research', limit: 2 });
    expect(research.data).toMatchObject({ count: 2, total: 4 });
    expect((await execute('listGroups')).data).toMatchObject({ total: 5 });
    const everyone = await execute('listUsers');
    expect(JSON.stringify(everyone.data)).not.toMatch(/password/i);
    const [row] = await server().database.sql('select state from latchkey.connector_state where tenant_id = $1', [
      tenant(),
    ]);
    expect(JSON.stringify(row)).not.toMatch(/canary-|Passw0rd/);
    await execute('reset');
    expect((await execute('checkAccountExists', { identity: 'zoe' })).data).toEqual({ exists: false });
    expect(server().logLines.join('')).not.toMatch(/canary-(New|Zoe)/);
  });

  it('lets a tenant have 500 connectors', async () => {
    const { connectors } = await as('admin');
    await connectors.createConnector({ name: 'first', type: 'delay' });
    await server().database.sql(
      `insert into latchkey.connector select tenant_id, 'cntr_' || lpad(n::text, 26, '0'), null, 'c' || n, '', 'delay', '{}', 1, now(), now()
       from latchkey.tenant, generate_series(1, 498) n where tenant_id = $1`,
      [tenant()],
    );
    const more = await Promise.allSettled(
      ['a', 'b', 'c'].map((name) => connectors.createConnector({ name, type: 'delay' })),
    );
    expect(more.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await failureOf(connectors.createConnector({ name: 'd', type: 'delay' }))).toMatchObject({
      ...{ code: 'FailedPrecondition', reason: 'CONNECTOR_LIMIT_REACHED', metadata: { limit: '500' } },
    });
  });

  it('loses no change of commands that run at once, and refuses what is too large', async () => {
    const clients = await as('admin');
    const execute = commandsOf(clients, await newConnector(clients, 'test-db', { config: { table: 'products' } }));
    const row = (index: number) => ({ name: `p${index}`, price: index, stock: 0 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => execute('insert', { rows: row(index) })),
    );
    const keys = answers.map(({ data }) => (data as { keys: number[] }).keys[0]!);
    expect(new Set(keys).size).toBe(20);
    expect((await execute('query')).data).toMatchObject({ total: 24 });
    const large = { name: 'x'.repeat(240_000), price: 1, stock: 1 };
    expect(await execute('insert', { rows: large })).toMatchObject({ success: true });
    expect(await execute('insert', { rows: large })).toMatchObject({
      ...{ success: false, error: 'the simulated system holds at most 262144 bytes' },
    });
    expect((await execute('query', { columns: ['id'] })).data).toMatchObject({ total: 25 });
  });

  it('keeps instances apart', async () => {
    const clients = await as('admin');
    const [one, two] = [await newConnector(clients, 'test-ldap'), await newConnector(clients, 'test-ldap')];
    await commandsOf(clients, one)('delete', { dn: `uid=asmith,${people}` });
    const count = async (id: string) => (await commandsOf(clients, id)('search', { filter: '(uid=asmith)' })).data;
    expect([await count(one), await count(two)]).toMatchObject([{ count: 0 }, { count: 1 }]);
  });

  it('records executions without what they were about', async () => {
    const clients = await as('admin');
    const id = await newConnector(clients, 'test-db');
    const execute = commandsOf(clients, id);
    const of = { stepId: 'step-7', instanceId: 'run-9', variables: { name: 'canary-var' } };
    await execute('query', { table: 'customers', where: { name: '{{name}}' } }, of);
    await execute('query', { table: 'nothing' });
    await clients.connectors.testConnector({ connectorId: id });
    const { entries } = await clients.audit.listAuditEntries({ resourceId: id });
    expect(entries.slice(0, 3).map(({ action, after }) => ({ action, after }))).toMatchObject([
      { action: 'connector_tested', after: { command: 'test', success: true } },
      { action: 'connector_executed', after: { command: 'query', success: false, step_id: '' } },
      {
        action: 'connector_executed',
        after: { type: 'test-db', command: 'query', success: true, step_id: 'step-7', instance_id: 'run-9' },
      },
    ]);
    expect(JSON.stringify(entries.map(({ after }) => after)) + server().logLines.join('')).not.toContain('canary-var');
  });

  it('is for those who hold the permission', async () => {
    const admin = await as('admin');
    const connectorId = await newConnector(admin, 'delay', { config: { durationMs: 0 } });
    for (const role of ['resource_manager', 'approver', 'requestor'] as const) {
      const { connectors } = await as(role);
      expect(await failureOf(connectors.getConnector({ connectorId }))).toMatchObject({
        ...{ code: 'PermissionDenied', metadata: { permission: 'connector:read' } },
      });
    }
    const executing = await keyWith(['connector:execute']);
    await executing.connectors.executeConnector({ connectorId });
    expect(await failureOf(executing.connectors.deleteConnector({ connectorId }))).toMatchObject({
      ...{ reason: 'PERMISSION_MISSING', metadata: { permission: 'connector:manage' } },
    });
    const managing = await keyWith(['connector:*']);
    await managing.connectors.updateConnector({ connectorId, displayName: 'x' });
    expect((await managing.access.getMe({})).permissions).toEqual([
      ...['connector:execute', 'connector:manage', 'connector:read'],
    ]);
  });

  it('shows others nothing, not even that it is there', async () => {
    const admin = await as('admin');
    const connectorId = await newConnector(admin, 'test-ldap', { projectId: 'p1', name: 'mine' });
    const absent = newId('cntr');
    const foreign = await as('admin', { tenant: `${tenant()}-other` });
    const ofProject = await keyWith(['connector:*'], ['p2']);
    const acts: ((clients: Clients, id: string) => Promise<unknown>)[] = [
      ({ connectors }, id) => connectors.getConnector({ connectorId: id }),
      ({ connectors }, id) => connectors.updateConnector({ connectorId: id, name: 'taken over' }),
      ({ connectors }, id) => connectors.deleteConnector({ connectorId: id }),
      ({ connectors }, id) => connectors.testConnector({ connectorId: id }),
      ({ connectors }, id) => connectors.executeConnector({ connectorId: id }),
    ];
    const told = (failure: Awaited<ReturnType<typeof failureOf>>, id: string) => {
      const { request_id: _, ...metadata } = failure.metadata;
      return JSON.stringify({ ...failure, metadata }).replaceAll(id, '');
    };
    for (const clients of [foreign, ofProject])
      for (const act of acts) {
        const failure = await failureOf(act(clients, connectorId));
        expect(failure).toMatchObject({ code: 'NotFound', reason: 'CONNECTOR_NOT_FOUND' });
        expect(told(failure, connectorId)).toBe(told(await failureOf(act(clients, absent)), absent));
      }
    const byName = ofProject.connectors.executeConnector({ projectId: 'p1', config: { connectorName: 'mine' } });
    expect((await failureOf(byName)).reason).toBe('CONNECTOR_NOT_FOUND');
    expect((await ofProject.connectors.listConnectors({})).connectors).toEqual([]);
    const intoOther = ofProject.connectors.createConnector({ name: 'x', type: 'delay', projectId: 'p1' });
    expect((await failureOf(intoOther)).fields).toEqual(['project_id']);
    expect(
      (await ofProject.connectors.createConnector({ name: 'x', type: 'delay', projectId: 'p2' })).connector?.id,
    ).toBeTruthy();
    expect((await operator().connectors.listConnectors({})).connectors.map(({ id }) => id)).not.toContain(connectorId);
  });

  it('waits, within the time of a call', async () => {
    const clients = await as('admin');
    const execute = commandsOf(clients, await newConnector(clients, 'delay'));
    const { data } = await execute('', { durationMs: 60 });
    expect((data as { waitedMs: number }).waitedMs).toBeGreaterThanOrEqual(60);
    expect((await failureOf(execute('', { durationMs: 60_000 }))).fields).toEqual(['inputs["durationMs"]']);
    expect(await execute('test')).toMatchObject({ success: true });
  });

  it('ends a delay at the deadline of the call, and when the caller leaves', async () => {
    const clients = await as('admin');
    const connectorId = await newConnector(clients, 'delay', { config: { durationMs: 50_000 } });
    const late = clients.connectors.executeConnector({ connectorId }, { timeoutMs: 150 });
    expect((await failureOf(late)).code).toBe('DeadlineExceeded');
    const leaving = new AbortController();
    const left = clients.connectors.executeConnector({ connectorId }, { signal: leaving.signal });
    // Once it is under way.
    const underWay = async () => (await fetch(`${server().httpUrl}/metrics`)).text();
    await expect.poll(underWay, { timeout: 5_000, interval: 10 }).toMatch(/^latchkey_calls_in_flight 1$/m);
    leaving.abort();
    expect((await failureOf(left)).code).toBe('Canceled');
    // Over long before it would have been, on the server, too. Whether a deadline is one there, or the caller's leaving, is a matter of who is first.
    const reasons = async () =>
      (await clients.audit.listAuditEntries({ resourceId: connectorId })).entries
        .filter(({ action }) => action === 'connector_executed')
        .map(({ after }) => after?.reason);
    const ended = expect.stringMatching(/^(CANCELLED|DEADLINE_EXCEEDED)$/);
    await expect.poll(reasons, { timeout: 5_000, interval: 25 }).toEqual([ended, ended]);
  });
});

describeRpc('ConnectorService, through connections', ({ as, server, tenant, transport }) => {
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await startReceiver();
  });
  afterAll(() => receiver[Symbol.asyncDispose]());
  beforeEach(() => {
    receiver.requests.length = 0;
    receiver.answer = (_, response) => void response.end('{}');
  });
  const json = (status: number, body: unknown) => {
    receiver.answer = (_, response) =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };

  async function connect({ connections }: Clients, other: object = {}): Promise<string> {
    const { connection } = await connections.createConnection({
      ...{ name: `c${++made}`, baseUrl: `${receiver.url}/v1`, backoffMs: 0, retries: 0 },
      ...{ credential: bearer('tok-secret-1'), ...other },
    });
    return connection!.id;
  }

  it('makes requests with the credential of a connection', async () => {
    const clients = await as('admin');
    const config = { connectionId: await connect(clients), headers: { 'x-of': 'config' } };
    const execute = commandsOf(clients, await newConnector(clients, 'http', { config }));
    json(201, { items: [{ id: 1 }, { id: 2 }], deep: { a: null } });
    const inputs = {
      ...{ method: 'POST', path: '/users/{{id}}/items', query: { limit: 3 }, body: { name: '{{name}}', on: true } },
      map: [{ as: 'ids', select: '$.items[*].id' }],
    };
    const answer = await execute('', inputs, { variables: { id: 'a/../b?c', name: 'Anna' } });
    expect(answer).toMatchObject({
      ...{ success: true, error: '', command: 'request' },
      data: { status: 201, body: { items: [{ id: 1 }, { id: 2 }] }, attempts: 1 },
    });
    const [request] = receiver.requests;
    expect(request).toMatchObject({ method: 'POST', path: '/v1/users/a%2F..%2Fb%3Fc/items?limit=3' });
    expect(request?.headers).toMatchObject({ authorization: 'Bearer tok-secret-1', 'x-of': 'config' });
    expect(JSON.parse(request!.body.toString())).toEqual({ name: 'Anna', on: true });
    expect(JSON.stringify(answer.data)).not.toContain('tok-secret-1');
    // On a busy machine a query can exceed its time.
    const mapped = async () => (await execute('', { map: inputs.map })).data?.mapped;
    await expect.poll(mapped, { timeout: 10_000, interval: 20 }).toEqual({ ids: [1, 2] });

    receiver.answer = (_, response) => void response.writeHead(404).end('gone');
    expect(await execute('', {})).toMatchObject({
      ...{ success: false, error: 'the other side answered 404', data: { status: 404, body: 'gone' } },
    });
    receiver.answer = (_, response) => void response.end(Buffer.from([0xff, 0xfe]));
    expect((await execute('', {})).data).toMatchObject({ bodyBase64: '//4=' });
    receiver.answer = (_, response) => void response.end('x'.repeat(200));
    expect(await execute('', { maxResponseBytes: 100 })).toMatchObject({
      ...{ success: false, data: { reason: 'RESPONSE_TOO_LARGE' } },
    });
    receiver.answer = () => {};
    expect(await execute('', { timeoutMs: 100 })).toMatchObject({ success: false, data: { reason: 'TARGET_TIMEOUT' } });
    const text = await execute('', {
      method: 'PUT',
      timeoutMs: 100,
      headers: { 'content-type': 'text/csv' },
      body: 'a,b',
    });
    expect(text.success).toBe(false);
    expect(receiver.requests.at(-1)?.body.toString()).toBe('a,b');
  });

  it('answers JSON that is nested too deeply, or too many values, as text', async () => {
    const clients = await as('admin');
    const config = { connectionId: await connect(clients) };
    const execute = commandsOf(clients, await newConnector(clients, 'http', { config }));
    const many = JSON.stringify(Array.from({ length: 400_000 }, () => 1));
    receiver.answer = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(many);
    expect((await execute('')).data).toMatchObject({ body: many });
    const nested = `${'['.repeat(1_000)}${']'.repeat(1_000)}`;
    receiver.answer = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(nested);
    expect((await execute('')).data).toMatchObject({ body: nested });
    receiver.answer = (_, response) =>
      void response
        .writeHead(200, { 'content-type': 'application/json' })
        .end('{"half":"\\ud800","__proto__":{"a":1}}');
    const { data } = await execute('');
    expect(JSON.stringify(data)).toMatch(/"half":"(\ufffd|\\ud800)"/);
    expect(JSON.stringify(data)).toContain('"__proto__":{"a":1}');
    receiver.answer = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(nested);
    const mappedError = async () => (await execute('', { map: [{ as: 'all', select: '$' }] })).error;
    await expect
      .poll(mappedError, { timeout: 10_000, interval: 20 })
      .toBe('the data is too large, or nested too deeply');
  });

  it('refuses what a request may not be, naming the input', async () => {
    const clients = await as('admin');
    const execute = commandsOf(
      clients,
      await newConnector(clients, 'http', { config: { connectionId: await connect(clients) } }),
    );
    const wrong: [Execution['inputs'], string][] = [
      [{ path: '/../x' }, 'inputs["path"]'],
      [{ headers: { Authorization: 'x' } }, 'inputs["headers"]'],
      [{ headers: { 'x-a': 'b\r\nc: d' } }, 'inputs["headers"]["x-a"]'],
      [{ headers: { 'a b': 'c' } }, 'inputs["headers"]'],
      [{ method: 'TRACE' }, 'inputs["method"]'],
      [{ map: [{ as: 'x', select: '$[' }] }, 'inputs["map"]'],
      [{ map: [{ as: '', select: '$' }] }, 'inputs["map"][0].as'],
      [{ query: { a: {} } }, 'inputs["query"]["a"]'],
    ];
    for (const [inputs, field] of wrong)
      expect(await failureOf(execute('', inputs)), field).toMatchObject({ reason: 'FIELD_INVALID', fields: [field] });
    const elsewhere = await failureOf(execute('', { path: 'https://elsewhere.example/x' }));
    expect(elsewhere).toMatchObject({ code: 'PermissionDenied', reason: 'HOST_NOT_ALLOWED' });
    const unset = commandsOf(clients, await newConnector(clients, 'http'));
    expect((await failureOf(unset(''))).fields).toEqual(['config["connectionId"]']);
    expect(receiver.requests).toEqual([]);
  });

  it('uses a connection with the rights of the caller alone', async () => {
    const admin = await as('admin');
    const owner = await as('requestor', { subject: 'owner' });
    const owned = await connect(owner);
    const shared = await connect(admin);
    const inProject = await connect(admin, { projectId: 'p1' });
    const connectorId = await newConnector(admin, 'http');
    const foreign = await as('admin', { tenant: `${tenant()}-other` });
    const theirs = await connect(foreign);
    for (const connectionId of [theirs, newId('conn')]) {
      const failure = await failureOf(admin.connectors.executeConnector({ connectorId, config: { connectionId } }));
      expect(failure).toMatchObject({ code: 'NotFound', reason: 'CONNECTION_NOT_FOUND' });
    }
    for (const connectionId of [owned, shared, inProject])
      expect(await admin.connectors.executeConnector({ connectorId, config: { connectionId } })).toMatchObject({
        success: true,
      });
    const outcomes = async (scopes: string[], projectIds: string[] = []) => {
      const { secret } = await admin.access.createApiKey({ displayName: 'k', scopes, projectIds });
      const { connectors } = server().clients(transport, { authorization: `Bearer ${secret}` });
      const each = [owned, shared, inProject].map((connectionId) =>
        connectors.executeConnector({ connectorId, config: { connectionId } }).then(
          ({ success }) => success,
          (error) => asFailure(error).reason,
        ),
      );
      return Promise.all(each);
    };
    const executing = ['connector:execute'];
    const using = [...executing, 'connection:use'];
    expect(await outcomes(executing)).toEqual(['CONNECTION_NOT_FOUND', 'PERMISSION_MISSING', 'CONNECTION_NOT_FOUND']);
    expect(await outcomes(using)).toEqual(['CONNECTION_NOT_FOUND', true, true]);
    expect(await outcomes(using, ['p2'])).toEqual(['CONNECTION_NOT_FOUND', true, 'CONNECTION_NOT_FOUND']);
    const disabled = await connect(admin);
    await admin.connections.disableConnection({ connectionId: disabled });
    const execution = { connectorId, config: { connectionId: disabled } };
    expect((await failureOf(admin.connectors.executeConnector(execution))).reason).toBe('CONNECTION_DISABLED');
  });

  it('ends a request with the call', async () => {
    const clients = await as('admin');
    const connectorId = await newConnector(clients, 'http', { config: { connectionId: await connect(clients) } });
    let closed = false;
    receiver.answer = (_, response) => void response.on('close', () => (closed = true));
    const failure = await failureOf(clients.connectors.executeConnector({ connectorId }, { timeoutMs: 200 }));
    expect(failure.code).toBe('DeadlineExceeded');
    await expect.poll(() => closed, { timeout: 5_000, interval: 20 }).toBe(true);
    const outcomes = async () =>
      (await clients.audit.listAuditEntries({ resourceId: connectorId })).entries
        .filter(({ action }) => action === 'connector_executed')
        .map(({ after }) => after);
    await expect
      .poll(outcomes, { timeout: 5_000, interval: 20 })
      .toMatchObject([{ success: false, reason: expect.stringMatching(/^(CANCELLED|DEADLINE_EXCEEDED)$/) }]);
  });

  it('tests the connection of a connector', async () => {
    const clients = await as('admin');
    const connectorId = await newConnector(clients, 'http', { config: { connectionId: await connect(clients) } });
    const { connectors } = clients;
    expect(await connectors.testConnector({ connectorId })).toMatchObject({
      ...{ success: true, error: '', data: { status: 'VALID', statusCode: 200 } },
    });
    receiver.answer = (_, response) => void response.writeHead(401).end();
    const refused = await connectors.testConnector({ connectorId });
    expect(refused).toMatchObject({ success: false, data: { status: 'INVALID', statusCode: 401 } });
    expect(refused.error).toContain('refused');
    expect(Number(refused.latency!.nanos) + Number(refused.latency!.seconds)).toBeGreaterThan(0);
  });
});
