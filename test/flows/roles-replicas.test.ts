import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { asFailure, failureOf } from '../harness/errors.ts';
import { TestIssuer } from '../harness/issuer.ts';
import { ServerProcess } from '../harness/process.ts';
import { type Receiver, startReceiver } from '../harness/receiver.ts';
import { ADMIN_KEY, type Clients, clientsOf, newMasterKey, ROLE_ENV, testEnv, transportTo } from '../harness/server.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';
import { Watch } from '../harness/watching.ts';

/** Within which a change of roles holds on every replica. */
const HOLDS_MS = 5_000;
const LISTENER = 'latchkey-listen';

let database: TestDatabase;
let issuer: TestIssuer;
let proxy: TcpProxy;
let receiver: Receiver;
let replicas: ServerProcess[];

/** Two replicas on one database; the second hears of changes by a way that can be cut. */
beforeAll(async () => {
  [database, issuer, receiver] = await Promise.all([createTestDatabase(), TestIssuer.start(), startReceiver()]);
  const { hostname, port } = new URL(database.url);
  proxy = await TcpProxy.to(hostname, Number(port));
  const throughProxy = { url: proxy.through(database.url), migrationUrl: proxy.through(database.migrationUrl) };
  const masterKey = newMasterKey();
  const env = { OIDC_ISSUER: issuer.url, ...ROLE_ENV, LOG_LEVEL: 'info', SANDBOX: 'off' };
  replicas = await Promise.all([
    ServerProcess.ready(testEnv(database, masterKey, env)),
    ServerProcess.ready(testEnv(throughProxy, masterKey, env)),
  ]);
});
afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.stop('SIGKILL')));
  await Promise.all([proxy.stop(), issuer.stop(), receiver[Symbol.asyncDispose]()]);
  await database.drop();
});

const clientsAt = (replica: ServerProcess, credential: string) =>
  clientsOf(transportTo('grpc', replica, { authorization: `Bearer ${credential}` }));
const operator = () => clientsAt(replicas[0]!, ADMIN_KEY);

/** A user of the operator's tenant, with clients at each replica. */
async function user(subject: string): Promise<{ userId: string; token: string; at: Clients[] }> {
  const token = await issuer.token({ sub: subject, tenant_id: 'default' });
  const at = replicas.map((replica) => clientsAt(replica, token));
  return { userId: (await at[0]!.access.getMe({})).user!.id, token, at };
}

const outcomeOf = (call: Promise<unknown>) =>
  call.then(
    () => 'in',
    (error) => asFailure(error).reason,
  );

async function cutListener(): Promise<void> {
  proxy.refuse(LISTENER);
  await database.sql(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and datname = current_database()`,
    [LISTENER],
  );
  const metrics = async () => (await fetch(`http://127.0.0.1:${replicas[1]!.httpPort}/metrics`)).text();
  await expect.poll(metrics, { timeout: HOLDS_MS }).toContain('latchkey_listener_up 0');
}

/** Calls of somebody without a pause, each of which says whether they were permitted. */
class Calling {
  /** When the last call was begun that ended so, by what it said. */
  readonly last: Record<'permitted' | 'refused', number> = { permitted: 0, refused: 0 };
  readonly others: unknown[] = [];
  calls = 0;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor({ secrets }: Clients) {
    this.#running = this.#run(() => secrets.listSecrets({}));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(call: () => Promise<unknown>): Promise<void> {
    while (!this.#stopped) {
      const begun = performance.now();
      try {
        await call();
        this.last.permitted = begun;
      } catch (error) {
        const { reason } = asFailure(error);
        if (reason === 'PERMISSION_MISSING') this.last.refused = begun;
        else this.others.push(reason);
      }
      this.calls += 1;
    }
  }
}

/** Changes roles while calls run at each replica. Answers after how many ms the last call at each was begun that was judged by the roles before. */
async function changeWhileCalling(subject: string, before: string[], after: string[]): Promise<number[]> {
  const { userId, at } = await user(subject);
  await operator().access.updateUserRoles({ userId, roles: before });
  const [was, is] = before.length > 0 ? (['permitted', 'refused'] as const) : (['refused', 'permitted'] as const);
  const callings = at.map((clients) => new Calling(clients));
  try {
    await expect.poll(() => callings.every(({ last }) => last[was] > 0), { timeout: 2 * HOLDS_MS }).toBe(true);
    const settled = performance.now();
    await expect.poll(() => callings.every(({ last }) => last[was] > settled), { timeout: HOLDS_MS }).toBe(true);
    await operator().access.updateUserRoles({ userId, roles: after });
    const changed = performance.now();
    await expect.poll(() => callings.every(({ last }) => last[is] > changed), { timeout: 2 * HOLDS_MS }).toBe(true);
    // Nobody goes back to what was.
    const calls = callings.map((calling) => calling.calls);
    await expect
      .poll(() => callings.every((calling, n) => calling.calls > calls[n]! + 100), { timeout: HOLDS_MS })
      .toBe(true);
    return callings.map(({ last }) => Math.max(0, last[was] - changed));
  } finally {
    await Promise.all(callings.map((calling) => calling.stop()));
    expect(callings.flatMap(({ others }) => others)).toEqual([]);
  }
}

describe('A role, while calls run on two replicas,', () => {
  it('holds on both at once when it is given, and no more when it is taken away', async () => {
    const ROLE = ['resource_manager'];
    for (let round = 0; round < 3; round++) {
      for (const heldMs of await changeWhileCalling(`heard-${round}`, [], ROLE)) expect(heldMs).toBeLessThan(1_000);
      for (const heldMs of await changeWhileCalling(`heard-${round}`, ROLE, [])) expect(heldMs).toBeLessThan(1_000);
    }
  });

  it('holds within 5 s on one that does not hear of changes', async () => {
    try {
      for (const [before, after] of [
        [['resource_manager'], []],
        [[], ['resource_manager']],
      ] as const) {
        proxy.refuse(null);
        const listening = async () => (await fetch(`http://127.0.0.1:${replicas[1]!.httpPort}/metrics`)).text();
        await expect.poll(listening, { timeout: HOLDS_MS }).toContain('latchkey_listener_up 1');
        const { userId, at } = await user(`unheard-${before.length}`);
        await operator().access.updateUserRoles({ userId, roles: [...before] });
        const permitted = (clients: Clients) =>
          clients.secrets.listSecrets({}).then(
            () => true,
            () => false,
          );
        // Remembered by the second replica a moment before it goes deaf.
        await expect.poll(() => permitted(at[1]!), { timeout: HOLDS_MS }).toBe(before.length > 0);
        await cutListener();
        await operator().access.updateUserRoles({ userId, roles: [...after] });
        const changed = performance.now();
        await expect.poll(() => permitted(at[1]!), { timeout: HOLDS_MS, interval: 20 }).toBe(after.length > 0);
        expect(performance.now() - changed).toBeLessThan(HOLDS_MS);
      }
    } finally {
      proxy.refuse(null);
    }
  });

  it('ends streams and proxied requests of who has it when it is taken away, as the end of a key does, on both and on one that does not hear', async () => {
    const { connection } = await operator().connections.createConnection({
      ...{ name: 'streamed', baseUrl: receiver.url, credential: bearer('t') },
    });
    receiver.answer = (_, response) => void response.writeHead(200).write('begun');
    await cutListener();
    try {
      const { userId, token, at } = await user('streaming');
      const stays = await user('staying');
      for (const id of [userId, stays.userId])
        await operator().access.updateUserRoles({ userId: id, roles: ['resource_manager'] });
      const watches = await Promise.all(at.map((clients) => Watch.start(clients)));
      const others = await Promise.all(stays.at.map((clients) => Watch.start(clients)));
      const key = await operator().access.createApiKey({ displayName: 'k', scopes: ['connection:use'] });
      const callers = replicas.flatMap(({ httpPort }) =>
        [token, key.secret].map((credential) => ({ httpPort, credential })),
      );
      const proxied = await Promise.all(
        callers.map(async ({ httpPort, credential }) => {
          const url = `http://127.0.0.1:${httpPort}/proxy/${connection!.id}/endless`;
          const response = await fetch(url, { headers: { authorization: `Bearer ${credential}` } });
          expect(response.status).toBe(200);
          const end = response.text().then(
            () => 'ended',
            () => 'broken off',
          );
          return { end };
        }),
      );
      const changing = performance.now();
      await operator().access.updateUserRoles({ userId, roles: ['approver'] });
      await operator().access.revokeApiKey({ apiKeyId: key.apiKey!.id });
      const ends = await Promise.all(watches.map(({ ended }) => ended));
      for (const end of ends) expect(asFailure(end)).toMatchObject({ code: 'Aborted', reason: 'RIGHTS_CHANGED' });
      expect(await Promise.all(proxied.map(({ end }) => end))).toEqual(callers.map(() => 'broken off'));
      expect(performance.now() - changing).toBeLessThan(HOLDS_MS);
      expect((await failureOf(at[0]!.events.listEvents({}))).reason).toBe('PERMISSION_MISSING');
      // Who was not meant watches on.
      await operator().secrets.createSecret({ name: 'told', value: 'v' });
      for (const watch of others) {
        await expect.poll(() => watch.types, { timeout: HOLDS_MS }).toContain('secret.created');
        await watch.stop();
      }
    } finally {
      proxy.refuse(null);
    }
  });
});

describe('On two replicas, one of which does not hear of changes,', () => {
  it('no credential of a deleted user or tenant is taken after 5 s', async () => {
    const { userId, at: byUser } = await user('leaving');
    const { access } = operator();
    await access.createTenant({ tenantId: 'leaving' });
    const { secret } = await access.createApiKey({ displayName: 'k', scopes: ['*'], tenantId: 'leaving' });
    const byKey = replicas.map((replica) => clientsAt(replica, secret));
    const token = await issuer.token({ sub: 'x', tenant_id: 'leaving' });
    const byToken = replicas.map((replica) => clientsAt(replica, token));
    const { connection } = await byKey[0]!.connections.createConnection({ name: 'c', credential: bearer('t') });
    const connectionId = connection!.id;
    // Each replica remembers all of it.
    for (const n of [0, 1]) {
      await byKey[n]!.connections.getCredentials({ connectionId });
      for (const clients of [byUser[n]!, byToken[n]!]) await clients.access.getMe({});
    }
    await cutListener();
    try {
      await access.deleteUser({ userId });
      await access.deleteTenant({ tenantId: 'leaving', confirmTenantId: 'leaving' });
      const deleted = performance.now();
      expect(await outcomeOf(byKey[0]!.connections.getCredentials({ connectionId }))).toBe('CREDENTIALS_INVALID');
      expect(await outcomeOf(byToken[0]!.access.getMe({}))).toBe('TENANT_DELETED');
      const deaf = async () => [
        await outcomeOf(byKey[1]!.connections.getCredentials({ connectionId })),
        await outcomeOf(byToken[1]!.access.getMe({})),
        // Whom the identity provider still lets in is somebody new.
        (await byUser[1]!.access.getMe({})).user!.id === userId,
      ];
      await expect
        .poll(deaf, { timeout: HOLDS_MS, interval: 20 })
        .toEqual(['CREDENTIALS_INVALID', 'TENANT_DELETED', false]);
      expect(performance.now() - deleted).toBeLessThan(HOLDS_MS);
      expect((await byUser[0]!.access.getMe({})).user!.id).not.toBe(userId);
    } finally {
      proxy.refuse(null);
    }
  });
});
