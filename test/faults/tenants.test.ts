import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { newId } from '../../src/base/id.ts';
import { bearer } from '../harness/credentials.ts';
import { failureOf } from '../harness/errors.ts';
import { type LangflowFake, startLangflow } from '../harness/langflow.ts';
import { type Clients, TestServer } from '../harness/server.ts';

const ATTEMPTS = Number(process.env.TENANT_ATTEMPTS ?? 100_000);
const AT_ONCE = 64;

let server: TestServer;
let langflow: LangflowFake;
beforeAll(async () => {
  langflow = await startLangflow({ version: '1.13' });
  const env = { LANGFLOW_BASE_URL: langflow.url, LANGFLOW_ADMIN_API_KEY: langflow.adminKey };
  server = await TestServer.start({ env: { LOG_LEVEL: 'silent', AUDIT_READS: 'off', ...env } });
});
afterAll(async () => {
  await server.stop();
  await langflow.close();
});

/** Every method that takes an id. */
const ACTS: {
  name: string;
  kind: 'conn' | 'key' | 'user' | 'sec' | 'intg' | 'auth' | 'acct' | 'cntr';
  act: (clients: Clients, id: string) => Promise<unknown>;
}[] = [
  {
    name: 'GetConnection',
    kind: 'conn',
    act: ({ connections }, connectionId) => connections.getConnection({ connectionId }),
  },
  {
    name: 'UpdateConnection',
    kind: 'conn',
    act: ({ connections }, connectionId) => connections.updateConnection({ connectionId, displayName: 'taken over' }),
  },
  {
    name: 'DeleteConnection',
    kind: 'conn',
    act: ({ connections }, connectionId) => connections.deleteConnection({ connectionId }),
  },
  {
    name: 'EnableConnection',
    kind: 'conn',
    act: ({ connections }, connectionId) => connections.enableConnection({ connectionId }),
  },
  {
    name: 'DisableConnection',
    kind: 'conn',
    act: ({ connections }, connectionId) => connections.disableConnection({ connectionId }),
  },
  {
    name: 'GetConnectionStatus',
    kind: 'conn',
    act: ({ connections }, connectionId) => connections.getConnectionStatus({ connectionId }),
  },
  {
    name: 'GetCredentials',
    kind: 'conn',
    act: ({ connections }, connectionId) => connections.getCredentials({ connectionId }),
  },
  { name: 'RevokeApiKey', kind: 'key', act: ({ access }, apiKeyId) => access.revokeApiKey({ apiKeyId }) },
  {
    name: 'UpdateUserRoles',
    kind: 'user',
    act: ({ access }, userId) => access.updateUserRoles({ userId, roles: ['admin'] }),
  },
  {
    name: 'CreateConnection',
    kind: 'user',
    act: ({ connections }, ownerUserId) =>
      connections.createConnection({ name: 'x', ownerUserId, credential: bearer('t') }),
  },
  {
    name: 'UpdateSecret',
    kind: 'sec',
    act: ({ secrets }, name) => secrets.updateSecret({ name, value: 'taken over' }),
  },
  { name: 'DeleteSecret', kind: 'sec', act: ({ secrets }, name) => secrets.deleteSecret({ name, force: true }) },
  ...(['refreshConnection', 'revokeConnection'] as const).map((method) => ({
    ...{ name: method, kind: 'conn' as const },
    act: ({ connections }: Clients, connectionId: string) => connections[method]({ connectionId }),
  })),
  ...(
    [
      'getIntegration',
      'updateIntegration',
      'deleteIntegration',
      'enableIntegration',
      'disableIntegration',
      'deleteIntegrationCredentials',
      'downloadIntegrationCredentials',
    ] as const
  ).map((method) => ({
    ...{ name: method, kind: 'intg' as const },
    act: ({ integrations }: Clients, integrationId: string) => integrations[method]({ integrationId }),
  })),
  {
    name: 'SetIntegrationCredentials',
    kind: 'intg',
    act: ({ integrations }, integrationId) =>
      integrations.setIntegrationCredentials({ integrationId, clientId: 'taken over' }),
  },
  {
    name: 'StartAuthorization',
    kind: 'intg',
    act: ({ connections }, integrationId) =>
      connections.startAuthorization({ integrationId, target: { case: 'newConnection', value: { name: 'x' } } }),
  },
  {
    name: 'GetAuthorization',
    kind: 'auth',
    act: ({ connections }, authorizationId) => connections.getAuthorization({ authorizationId }),
  },
  {
    name: 'DeleteAccount',
    kind: 'acct',
    act: ({ integrations }, accountId) => integrations.deleteAccount({ accountId, hereAlone: true }),
  },
  ...(['getConnector', 'updateConnector', 'deleteConnector', 'testConnector', 'executeConnector'] as const).map(
    (method) => ({
      ...{ name: method, kind: 'cntr' as const },
      act: ({ connectors }: Clients, connectorId: string) => connectors[method]({ connectorId }),
    }),
  ),
];

it(`answers ${ATTEMPTS.toLocaleString('en')} random attempts on another tenant’s things exactly as if they were not there`, async () => {
  const victim = await server.as('admin', { tenant: 'victim' });
  const attackers = await Promise.all(
    (['grpc', 'connect', 'grpc-web'] as const).map((transport) =>
      server.as('admin', { tenant: 'attacker', transport }),
    ),
  );
  const owned: Record<(typeof ACTS)[number]['kind'], string[]> = {
    ...{ conn: [], key: [], user: [], sec: [], intg: [], auth: [], acct: [], cntr: [] },
  };
  const { integration } = await victim.integrations.createIntegration({ provider: 'slack' });
  const integrationId = integration!.id;
  await victim.integrations.setIntegrationCredentials({ integrationId, clientId: 'c', clientSecrets: ['s'] });
  const target = { case: 'newConnection' as const, value: { name: 'pending' } };
  owned.intg.push(integrationId);
  owned.auth.push((await victim.connections.startAuthorization({ integrationId, target })).authorization!.id);
  owned.acct.push((await victim.integrations.ensureAccount({ provider: 'langflow' })).account!.id);
  owned.user.push((await victim.access.getMe({})).user!.id);
  owned.cntr.push((await victim.connectors.createConnector({ name: 'c', type: 'test-ldap' })).connector!.id);
  for (let i = 0; i < 20; i++) {
    owned.conn.push(
      (await victim.connections.createConnection({ name: `c${i}`, credential: bearer('victims-token') })).connection!
        .id,
    );
    owned.key.push((await victim.access.createApiKey({ displayName: 'k', scopes: ['*'] })).apiKey!.id);
    await victim.secrets.createSecret({ name: `victims_${i}`, value: 'victims-value' });
    owned.sec.push(`victims_${i}`);
  }
  const absent = (kind: keyof typeof owned) => (kind === 'sec' ? `absent_${randomInt(1e9)}` : newId(kind));
  const seen = new Map<string, Set<string>>();
  let left = ATTEMPTS;
  const lane = async () => {
    while (left-- > 0) {
      const { name, kind, act } = ACTS[randomInt(ACTS.length)]!;
      const foreign = randomInt(2) === 0;
      const id = foreign ? owned[kind][randomInt(owned[kind].length)]! : absent(kind);
      const failure = await failureOf(act(attackers[randomInt(3)]!, id));
      const text = JSON.stringify(failure).replaceAll(id, 'ID').replace(failure.metadata.request_id!, 'REQUEST');
      const known = seen.get(name) ?? new Set();
      seen.set(name, known.add(text));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  expect(seen.size).toBe(ACTS.length);
  for (const [name, answers] of seen) {
    expect(answers.size, `${name}: ${[...answers].join('\n')}`).toBe(1);
    expect([...answers][0], name).toContain('NotFound');
  }
  const kept = await victim.connections.listConnections({ pageSize: 100 });
  expect(kept.connections).toHaveLength(22);
  expect(kept.connections.every((connection) => connection.etag === 'v1' && connection.enabled)).toBe(true);
  expect((await victim.access.listApiKeys({ pageSize: 100 })).apiKeys.every((key) => !key.revokeTime)).toBe(true);
});
