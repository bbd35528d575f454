import { afterAll, beforeAll, expect, it } from 'vitest';
import { setUp } from '../harness/authorizations.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { failureOf } from '../harness/errors.ts';
import { OAuthServer } from '../harness/oauth-server.ts';
import { type Clients, newMasterKey, TestServer } from '../harness/server.ts';

const CONNECTIONS = 12;

let database: TestDatabase;
let servers: TestServer[];
let oauth: OAuthServer;
let clients: Clients[];
const ids: string[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  const shared = { database, masterKey: newMasterKey(), env: { REFRESH_SWEEP_MS: '60000' } };
  servers = [await TestServer.start(shared), await TestServer.start(shared)];
  oauth = await OAuthServer.start({ redirectUris: ['https://app.example.com/callback'] });
  clients = servers.map((server) => server.operator());
  const integrationId = await setUp(clients[0]!, oauth.definition('strict'));
  const value = (text: string) => ({ source: { case: 'value' as const, value: text } });
  for (let i = 0; i < CONNECTIONS; i++) {
    const { connection } = await clients[0]!.connections.createConnection({
      name: `c${i}`,
      integrationId,
      credential: {
        kind: {
          case: 'oauth2',
          value: { accessToken: value('at'), refreshToken: value(`rt-${i}`), expireTime: { seconds: 1n, nanos: 0 } },
        },
      },
    });
    ids.push(connection!.id);
  }
});
afterAll(async () => {
  for (const server of servers) await server.stop();
  await oauth.stop();
  await database.drop();
});

const ask = (id: string, replica: number) =>
  failureOf(clients[replica]!.connections.getCredentials({ connectionId: id }));

it('leaves a token endpoint alone that fails, and lets one caller of all replicas try it again', async () => {
  oauth.down.add('/token');
  for (const [i, id] of ids.entries()) expect((await ask(id, i % 2)).reason).toBe('PROVIDER_UNAVAILABLE');
  expect(oauth.count('/token')).toBe(5);
  // Not where a token may be spent already: the provider forgives that for a while alone.
  await database.sql(
    `update latchkey.credential set attempt_id = 'att_dead', lease_until = now() - interval '1 s' where connection_id = $1`,
    [ids[11]],
  );
  expect((await ask(ids[11]!, 0)).reason).toBe('PROVIDER_UNAVAILABLE');
  expect(oauth.count('/token')).toBe(6);
  const over = () => database.sql(`update latchkey.circuit set open_until = now(), probe_until = null`);
  await database.sql(`update latchkey.credential set refresh_not_before = null`);
  await over();
  oauth.requests.clear();
  const all = await Promise.all(ids.map((id, i) => ask(id, i % 2)));
  expect(new Set(all.map(({ reason }) => reason))).toEqual(new Set(['PROVIDER_UNAVAILABLE']));
  expect(oauth.count('/token')).toBe(1);
  oauth.down.clear();
  await over();
  await database.sql(`update latchkey.credential set refresh_not_before = null`);
  const back = await Promise.all(ids.map((id, i) => ask(id, i % 2)));
  // The tokens are none of the provider's: it is back, and says so of each.
  expect(new Set(back.map(({ reason }) => reason)).has('REAUTHORIZATION_REQUIRED')).toBe(true);
  const [row] = await database.sql<{ count: string }>('select count(*) from latchkey.circuit');
  expect(row!.count).toBe('0');
});
