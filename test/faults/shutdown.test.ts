import { afterAll, beforeAll, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { asFailure } from '../harness/errors.ts';
import { ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, clientsOf, newMasterKey, TRANSPORTS, testEnv, transportTo } from '../harness/server.ts';

const STOPS = 100;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

it(`cuts no call in flight in ${STOPS} stops under load, and exits with 0`, async () => {
  const env = { ...testEnv(database, newMasterKey()), LOG_LEVEL: 'info' };
  let answered = 0;
  for (let round = 0; round < STOPS; round++) {
    const server = await ServerProcess.ready(env);
    const clients = TRANSPORTS.map((transport) =>
      clientsOf(transportTo(transport, server, { authorization: `Bearer ${ADMIN_KEY}` })),
    );
    const { connection } = await clients[0]!.connections.createConnection({
      name: `c${round}`,
      credential: bearer('t'),
    });
    let stopping = false;
    const cut: string[] = [];
    const callers = Array.from({ length: 12 }, async (_, i) => {
      const { connections } = clients[i % clients.length]!;
      while (!stopping) {
        try {
          await (i % 2
            ? connections.getCredentials({ connectionId: connection!.id })
            : connections.listConnections({}));
          answered += 1;
        } catch (error) {
          const failure = asFailure(error);
          // Without a reason nobody answered: the call found no server any more. With one, a call in flight was cut.
          if (failure.reason || !stopping) cut.push(JSON.stringify(failure));
          return;
        }
      }
    });
    const before = answered;
    await expect.poll(() => answered - before, { timeout: 10_000, interval: 5 }).toBeGreaterThan(30);
    stopping = true;
    const { code, output } = await server.stop('SIGTERM');
    await Promise.all(callers);
    expect(cut, `round ${round}`).toEqual([]);
    expect(code).toBe(0);
    expect(output).not.toMatch(/"level":(50|60)/);
  }
  expect(answered).toBeGreaterThan(STOPS * 30);
});
