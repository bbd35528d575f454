import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ChainReport } from '../../src/domain/audit/verify-chain.ts';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, type Clients, clientsOf, newMasterKey, testEnv, transportTo } from '../harness/server.ts';

const KILLS = 15;
const CALLERS = 8;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const ACTIONS = ['credentials_read', 'connection_created', 'connection_updated', 'connection_deleted'] as const;

it(`strict: has an entry for every act that was answered, over ${KILLS} kills`, async () => {
  const env = { ...testEnv(database, newMasterKey()), AUDIT_READS: 'strict', LOG_LEVEL: 'info' };
  const done = Object.fromEntries(ACTIONS.map((action) => [action, 0])) as Record<(typeof ACTIONS)[number], number>;
  const act = async ({ connections }: Clients, name: string) => {
    const { connection } = await connections.createConnection({ name, credential: bearer('t') });
    done.connection_created += 1;
    const connectionId = connection!.id;
    await connections.getCredentials({ connectionId });
    done.credentials_read += 1;
    await connections.updateConnection({ connectionId, displayName: 'x' });
    done.connection_updated += 1;
    await connections.deleteConnection({ connectionId });
    done.connection_deleted += 1;
  };
  for (let kill = 0; kill < KILLS; kill++) {
    const server = await ServerProcess.ready(env);
    const clients = clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));
    const start = done.connection_deleted;
    const callers = Array.from({ length: CALLERS }, async (_, caller) => {
      for (let n = 0; ; n++) await act(clients, `${kill}-${caller}-${n}`);
    });
    const over = Promise.allSettled(callers);
    await expect.poll(() => done.connection_deleted - start, { timeout: 20_000, interval: 5 }).toBeGreaterThan(20);
    await server.stop('SIGKILL');
    await over;
  }
  for (const action of ACTIONS) {
    const [row] = await database.sql<{ n: string }>(
      'select count(*) as n from latchkey.audit_entry where action = $1',
      [action],
    );
    const entries = Number(row?.n);
    expect(entries, action).toBeGreaterThanOrEqual(done[action]);
    // Beyond those: acts that were done and whose answer a kill swallowed, at most one a caller and kill.
    expect(entries - done[action], action).toBeLessThanOrEqual(KILLS * CALLERS);
  }
  const [events] = await database.sql<{ n: string }>(
    `select count(*) as n from latchkey.outbox where type = 'connection.created'`,
  );
  const [created] = await database.sql<{ n: string }>(
    `select count(*) as n from latchkey.audit_entry where action = 'connection_created'`,
  );
  expect(events?.n).toBe(created?.n);

  const last = await ServerProcess.ready(env);
  const count = async (what: string) => Number((await database.sql<{ n: string }>(`select ${what}`))[0]!.n);
  await expect.poll(() => count('count(*) as n from latchkey.audit_unsealed'), { timeout: 5_000 }).toBe(0);
  await last.stop();
  const proof = await ServerProcess.command(env, 'audit', 'verify', '--json').exited;
  expect(proof.code, proof.output).toBe(0);
  const sealed = (JSON.parse(proof.output) as ChainReport[]).reduce((sum, { head }) => sum + head.sequence, 0);
  expect(sealed).toBe(await count('count(*) as n from latchkey.audit_entry'));
});
