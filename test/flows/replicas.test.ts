import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { failureOf } from '../harness/errors.ts';
import { ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, clientsOf, newMasterKey, testEnv, transportTo } from '../harness/server.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';

let database: TestDatabase;
let proxy: TcpProxy;
let one: ServerProcess;
let two: ServerProcess;
const masterKey = newMasterKey();

/** Two replicas on one database; the second reaches it through a way that can be cut. */
beforeAll(async () => {
  database = await createTestDatabase();
  const { hostname, port } = new URL(database.url);
  proxy = await TcpProxy.to(hostname, Number(port));
  const throughProxy = { url: proxy.through(database.url), migrationUrl: proxy.through(database.migrationUrl) };
  [one, two] = await Promise.all([
    ServerProcess.ready(testEnv(database, masterKey)),
    ServerProcess.ready(testEnv(throughProxy, masterKey)),
  ]);
});
afterAll(async () => {
  proxy.mend();
  await Promise.all([one.stop('SIGKILL'), two.stop('SIGKILL')]);
  await proxy.stop();
  await database.drop();
});

const to = (server: ServerProcess, key = ADMIN_KEY) =>
  clientsOf(transportTo('grpc', server, { authorization: `Bearer ${key}` }));
const WITHIN = { timeout: 5_000, interval: 25 };

async function newConnection(name: string): Promise<string> {
  const { connection } = await to(one).connections.createConnection({ name, credential: bearer('v1') });
  return connection!.id;
}

const tokenAt = async (server: ServerProcess, connectionId: string) =>
  (await to(server).connections.getCredentials({ connectionId })).headers[0]?.value;

describe('Two replicas', () => {
  it('refuse a key that was revoked on one', async () => {
    const { apiKey, secret } = await to(one).access.createApiKey({ displayName: 'k', scopes: ['*'] });
    for (const server of [one, two]) expect((await to(server, secret).access.getMe({})).tenantId).toBe('default');
    await to(one).access.revokeApiKey({ apiKeyId: apiKey!.id });
    expect((await failureOf(to(one, secret).access.getMe({}))).reason).toBe('CREDENTIALS_INVALID');
    await expect
      .poll(
        () =>
          to(two, secret)
            .access.getMe({})
            .then(
              () => 'in',
              (error) => error.rawMessage,
            ),
        WITHIN,
      )
      .toBe('the credential is not valid');
  });

  it('hear of changed, disabled and deleted connections, and of changed secrets', async () => {
    const id = await newConnection('heard');
    expect(await tokenAt(two, id)).toBe('Bearer v1');
    await to(one).connections.updateConnection({ connectionId: id, credential: bearer('v2') });
    await expect.poll(() => tokenAt(two, id), WITHIN).toBe('Bearer v2');
    await to(one).connections.disableConnection({ connectionId: id });
    await expect
      .poll(() => failureOf(tokenAt(two, id)).then((failure) => failure.reason), WITHIN)
      .toBe('CONNECTION_DISABLED');
    await to(one).connections.deleteConnection({ connectionId: id });
    await expect
      .poll(() => failureOf(tokenAt(two, id)).then((failure) => failure.reason), WITHIN)
      .toBe('CONNECTION_NOT_FOUND');
    await to(one).secrets.createSecret({ name: 's', value: 'a' });
    const credential = {
      kind: { case: 'bearer' as const, value: { token: { source: { case: 'secretRef' as const, value: 's' } } } },
    };
    const { connection } = await to(one).connections.createConnection({ name: 'by reference', credential });
    expect(await tokenAt(two, connection!.id)).toBe('Bearer a');
    await to(one).secrets.updateSecret({ name: 's', value: 'b' });
    await expect.poll(() => tokenAt(two, connection!.id), WITHIN).toBe('Bearer b');
  });

  it('believe nothing cached after a gap in what they hear', async () => {
    const id = await newConnection('gap');
    expect(await tokenAt(two, id)).toBe('Bearer v1');
    await database.sql(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'latchkey-listen' and datname = current_database()`,
    );
    await to(one).connections.updateConnection({ connectionId: id, credential: bearer('v2') });
    await expect.poll(() => tokenAt(two, id), WITHIN).toBe('Bearer v2');
    await expect
      .poll(async () => (await fetch(`http://127.0.0.1:${two.httpPort}/metrics`)).text(), WITHIN)
      .toContain('latchkey_listener_up 1');
  });

  it('answer UNAVAILABLE while the database is away, stay alive, and come back by themselves', async () => {
    const id = await newConnection('away');
    const status = async (path: string) => (await fetch(`http://127.0.0.1:${two.httpPort}${path}`)).status;
    proxy.cut();
    await expect.poll(() => status('/readyz'), { timeout: 10_000 }).toBe(503);
    expect(await status('/healthz')).toBe(200);
    const failure = await failureOf(to(two).connections.createConnection({ name: 'x', credential: bearer('t') }));
    expect(failure).toMatchObject({ code: 'Unavailable', reason: 'DATABASE_UNAVAILABLE' });
    expect(failure.retryAfterMs).toBeGreaterThan(0);
    proxy.mend();
    await expect.poll(() => status('/readyz'), { timeout: 10_000 }).toBe(200);
    await expect.poll(() => tokenAt(two, id).catch(() => ''), { timeout: 10_000 }).toBe('Bearer v1');
  });

  it('survive the loss of every database connection at once', async () => {
    const id = await newConnection('terminated');
    await database.sql(
      `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'latchkey_app' and datname = current_database()`,
    );
    for (const server of [one, two]) {
      await expect.poll(() => tokenAt(server, id).catch(() => ''), { timeout: 10_000 }).toBe('Bearer v1');
      await expect
        .poll(
          () =>
            to(server)
              .connections.listConnections({})
              .then(
                (page) => page.connections.length > 0,
                () => false,
              ),
          { timeout: 10_000 },
        )
        .toBe(true);
    }
  });
});

describe('A replica that is told to stop', () => {
  it('ends its calls in flight, and then itself', async () => {
    const server = await ServerProcess.ready(testEnv(database, masterKey));
    const clients = to(server);
    const id = await newConnection('stopping');
    let stopping = false;
    let answered = 0;
    const failures: string[] = [];
    const caller = async () => {
      while (!stopping) {
        const startedBefore = !stopping;
        try {
          await clients.connections.getCredentials({ connectionId: id });
          await clients.connections.getConnection({ connectionId: id });
          answered += 2;
        } catch (error) {
          // Once it is stopping new calls may find nobody; one with an answer of ours means that we cut it.
          const { reason, code } = await failureOf(Promise.reject(error));
          if (startedBefore && !stopping) failures.push(`${code} ${reason}`);
          else if (reason) failures.push(reason);
          return;
        }
      }
    };
    const callers = Array.from({ length: 16 }, caller);
    await expect.poll(() => answered, WITHIN).toBeGreaterThan(200);
    stopping = true;
    const exit = await server.stop('SIGTERM');
    await Promise.all(callers);
    expect(failures).toEqual([]);
    expect(exit.code).toBe(0);
    const [reads] = await database.sql<{ n: string }>(
      `select count(*) as n from latchkey.audit_entry where resource_id = $1 and action = 'credentials_read'`,
      [id],
    );
    expect(Number(reads?.n)).toBeGreaterThanOrEqual(answered / 2);
  });
});
