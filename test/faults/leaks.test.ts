import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bearer, secret } from '../harness/credentials.ts';
import { type Clients, TestServer } from '../harness/server.ts';

const CANARIES = 1_000;

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.stop());

/** Ways to plant a secret; each also provokes what may quote it: audit, events, debug logs, errors. */
const PLANTINGS: ((clients: Clients, canary: string, n: number) => Promise<unknown>)[] = [
  ({ connections }, canary, n) =>
    connections.createConnection({ name: `b${n}`, credential: bearer(canary), requestId: `r${n}` }),
  ({ connections }, canary, n) =>
    connections.createConnection({
      name: `k${n}`,
      credential: { kind: { case: 'apiKey', value: { key: secret(canary) } } },
    }),
  ({ connections }, canary, n) =>
    connections.createConnection({
      name: `p${n}`,
      credential: { kind: { case: 'basic', value: { username: 'u', password: secret(canary) } } },
    }),
  ({ connections }, canary, n) =>
    connections.createConnection({
      name: `c${n}`,
      credential: { kind: { case: 'custom', value: { fields: { f: secret(canary) } } } },
    }),
  ({ connections }, canary, n) =>
    connections.createConnection({ name: `w${n}`, credential: bearer('x'), webhookSignatureSecret: canary }),
  ({ connections }, canary, n) =>
    connections.createConnection({
      name: `a${n}`,
      credential: {
        kind: {
          case: 'aws',
          value: { accessKeyId: 'AK', secretAccessKey: secret(canary), sessionToken: secret(canary) },
        },
      },
    }),
  ({ secrets }, canary, n) => secrets.createSecret({ name: `s${n}`, value: canary, requestId: `r${n}` }),
  ({ connections }, canary) =>
    connections.createConnection({ name: '', credential: bearer(canary) }).catch((error) => error),
  ({ connections }, canary) =>
    connections.createConnection({ name: 'b0', credential: bearer(canary) }).catch((error) => error),
  (_, canary) =>
    fetch(`${server.httpUrl}/latchkey.v1.SecretService/CreateSecret`, {
      method: 'POST',
      headers: { authorization: `Bearer ${canary}`, 'content-type': 'application/json' },
      body: `{"value": "${canary}", "nope": 1}`,
    }),
  (_, canary) =>
    fetch(`${server.httpUrl}/latchkey.v1.SecretService/CreateSecret`, {
      method: 'POST',
      headers: { 'x-api-key': 'the-operators-key-of-the-tests-0123456789', 'content-type': 'application/json' },
      body: `{"name": "x", "value": ["${canary}"]}`,
    }),
  async ({ connectors }, canary, n) => {
    const { connector } = await connectors.createConnector({ name: `ad${n}`, type: 'test-activedirectory' });
    const inputs = { identity: 'bjones', newPassword: canary };
    return connectors.executeConnector({ connectorId: connector!.id, command: 'resetPassword', inputs });
  },
];

function encodings(text: string): string[] {
  const bytes = Buffer.from(text);
  return [
    text,
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    encodeURIComponent(text),
    JSON.stringify(text).slice(1, -1),
  ];
}

it(`keeps ${CANARIES} planted secrets out of database, log, metrics, audit and events`, async () => {
  const clients = server.operator();
  const canaries: string[] = [];
  for (let n = 0; n < CANARIES; n++) {
    const canary = `canary "${randomBytes(18).toString('base64')}" %/+ ü`;
    canaries.push(canary);
    const answer = await PLANTINGS[n % PLANTINGS.length]!(
      clients,
      n % PLANTINGS.length === 9 ? canary.replace(/[^\x21-\x7e]/g, '_') : canary,
      n,
    );
    if (answer instanceof Error) expect(JSON.stringify(answer) + answer.message).not.toContain(canary);
    const id = (answer as { connection?: { id: string } }).connection?.id;
    if (id) {
      await clients.connections.getCredentials({ connectionId: id });
      await clients.connections.updateConnection({ connectionId: id, displayName: 'x', credential: bearer(canary) });
    }
  }
  await server.replica.app.pool.query('select 1');
  const tables = await server.database.sql<{ name: string }>(
    `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname in ('latchkey', 'public') and c.relkind = 'r'`,
  );
  const haystacks: string[] = [server.logLines.join('\n'), await (await fetch(`${server.httpUrl}/metrics`)).text()];
  for (const { name } of tables) {
    const rows = await server.database.sql<Record<string, unknown>>(`select * from latchkey.${name}`);
    for (const row of rows) {
      haystacks.push(JSON.stringify(row));
      for (const value of Object.values(row))
        if (Buffer.isBuffer(value))
          haystacks.push(value.toString('latin1'), value.toString('hex'), value.toString('utf8'));
    }
  }
  const haystack = haystacks.join('\n');
  expect(haystack.length).toBeGreaterThan(1_000_000);
  expect(haystack).toContain('connection_created');
  const found = canaries.filter((canary) => encodings(canary).some((text) => haystack.includes(text)));
  expect(found).toEqual([]);
});
