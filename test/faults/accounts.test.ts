import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { accountOf } from '../harness/accounts.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { asFailure } from '../harness/errors.ts';
import { TestIssuer } from '../harness/issuer.ts';
import { type LangflowFake, type LangflowVersion, startLangflow } from '../harness/langflow.ts';
import { ServerProcess } from '../harness/process.ts';
import { type Clients, clientsOf, newMasterKey, ROLE_ENV, testEnv, transportTo } from '../harness/server.ts';

const USERS = 20;
const ROUNDS = Number(process.env.ACCOUNT_ROUNDS ?? 3);
/** A replica that was killed holds its accounts for 15 s. */
const SOON = { timeout: 60_000, interval: 250 };
/** About so many requests make the accounts of all. */
const ALL_HITS = 6 * USERS;

describe.each<LangflowVersion>(['1.7', '1.13'])(
  'Twenty users at once, at Langflow %s, from two replicas',
  (version) => {
    let database: TestDatabase;
    let issuer: TestIssuer;
    let langflow: LangflowFake;
    let env: Record<string, string>;
    let replicas: [ServerProcess, ServerProcess];
    const started: ServerProcess[] = [];
    let tenant = '';
    let tenants = 0;
    let before: ReadonlySet<string>;

    beforeAll(async () => {
      database = await createTestDatabase();
      issuer = await TestIssuer.start();
      langflow = await startLangflow({
        version,
        adminKey: 'the-superusers-own-key',
        switches: { loginsPerMinute: null },
      });
      env = testEnv(database, newMasterKey(), {
        ...{ LANGFLOW_BASE_URL: langflow.url, LANGFLOW_ADMIN_API_KEY: langflow.adminKey },
        ...{ OIDC_ISSUER: issuer.url, ...ROLE_ENV, SANDBOX: 'off', LOG_LEVEL: 'info' },
      });
      replicas = [await start(), await start()];
    });
    afterAll(async () => {
      await Promise.all(started.map((replica) => replica.stop('SIGKILL')));
      await langflow.close();
      await issuer.stop();
      await database.drop();
    });
    beforeEach(() => {
      tenant = `accounts-${++tenants}`;
      before = new Set(langflow.users.keys());
    });

    async function start(): Promise<ServerProcess> {
      const replica = await ServerProcess.ready(env);
      started.push(replica);
      return replica;
    }

    async function as(user: number, replica: ServerProcess): Promise<Clients> {
      const token = await issuer.token({ sub: `user-${user}`, tenant_id: tenant, groups: ['requestors'] });
      return clientsOf(transportTo('grpc', replica, { authorization: `Bearer ${token}` }));
    }

    /** All users ask at once, half of them here and half there; what fails, fails in a way that says to ask again. */
    function all<T>(ask: (clients: Clients, user: number) => Promise<T>): Promise<(T | null)[]> {
      const one = async (user: number) => {
        try {
          return await ask(await as(user, replicas[user % 2]!), user);
        } catch (error) {
          expect(['Unavailable', 'Canceled', 'Aborted', 'Internal', 'Unknown']).toContain(asFailure(error).code);
          return null;
        }
      };
      return Promise.all(Array.from({ length: USERS }, (_, user) => one(user)));
    }

    /** While they ask, the first replica is killed at the `hits`th request; then there is another one. */
    async function killedAt(hits: number, ask: (clients: Clients, user: number) => Promise<unknown>): Promise<void> {
      const until = langflow.hits.length + hits;
      const asked = all(ask);
      await Promise.race([langflow.waitFor(() => langflow.hits.length >= until), asked]);
      replicas[0].signal('SIGKILL');
      expect((await replicas[0].exited).signal).toBe('SIGKILL');
      await asked;
      langflow.settle();
      replicas = [await start(), replicas[1]];
      if (randomInt(2) === 0) replicas.reverse();
    }

    const users = () => [...langflow.users.values()].filter(({ username }) => !before.has(username));

    /** Asked for again, all are there, each once, and of use. */
    async function expectAll(): Promise<void> {
      await expect.poll(async () => (await all(accountOf)).filter((account) => account === null), SOON).toEqual([]);
      const accounts = (await all(accountOf)).map((account) => account!);
      const names = users().map(({ username }) => username);
      expect(names).toHaveLength(USERS);
      expect(new Set(accounts.map(({ username }) => username))).toEqual(new Set(names));
      const rows = await database.sql<{ status: string }>(
        'select a.status from latchkey.provider_account a join latchkey.connection using (tenant_id) where tenant_id = $1 and connection.id = a.connection_id',
        [tenant],
      );
      expect(rows.map(({ status }) => status)).toEqual(Array(USERS).fill('ACTIVE'));
      const counted = 'select count(*)::int as n from latchkey.connection where tenant_id = $1';
      expect(await database.sql(counted, [tenant])).toEqual([{ n: USERS }]);
      const keys = await all(async (clients) => (await clients.langflow.getApiKey({})).apiKey);
      const ids = new Set(users().map(({ id }) => id));
      const there = langflow.keys.filter(({ user_id }) => ids.has(user_id)).map(({ api_key }) => api_key);
      expect(there.toSorted()).toEqual(keys.toSorted());
      expect(await all(uses)).toEqual(Array.from({ length: USERS }, (_, user) => `hello ${user}`));
    }

    /** Makes a flow, runs it, and reads another run as it goes on. */
    async function uses(clients: Clients, user: number): Promise<string> {
      const { flow } = await clients.langflow.createFlow({ name: 'echo' });
      const run = { flowId: flow!.id, inputValue: `hello ${user}` };
      const { text } = await clients.langflow.runFlow({ run });
      const events = [];
      for await (const { event } of clients.langflow.streamFlowRun({ run })) events.push(event);
      expect(events.at(-1)).toMatchObject({ case: 'end', value: { text } });
      return text;
    }

    it(`are given an account each, ${ROUNDS} times, whenever a replica is killed`, async () => {
      for (let round = 0; round < ROUNDS; round++) {
        tenant = `accounts-${++tenants}`;
        before = new Set(langflow.users.keys());
        await killedAt(randomInt(1, ALL_HITS), accountOf);
        await expectAll();
      }
    });

    it('are given an account each by the jobs of who survives, where nobody asks again', async () => {
      await killedAt(randomInt(1, ALL_HITS / 2), accountOf);
      const unfinished = async () => {
        await database.sql(
          `update graphile_worker._private_jobs set run_at = now() where payload ->> 'tenantId' = $1 and locked_at is null and run_at > now()`,
          [tenant],
        );
        return database.sql(
          `select id from latchkey.provider_account where tenant_id = $1 and (status <> 'ACTIVE' or connection_id is null)`,
          [tenant],
        );
      };
      await expect.poll(unfinished, SOON).toEqual([]);
      const begun = await database.sql('select id from latchkey.provider_account where tenant_id = $1', [tenant]);
      expect(users()).toHaveLength(begun.length);
      await expectAll();
    });

    it('are given another key each, whenever a replica is killed', async () => {
      await expectAll();
      for (let round = 0; round < ROUNDS; round++) {
        for (const user of users()) langflow.removeKeys(user);
        await killedAt(randomInt(1, ALL_HITS), (clients) => clients.langflow.listFlows({}));
        const lists = () => all((clients) => clients.langflow.listFlows({}));
        await expect.poll(async () => (await lists()).filter((list) => list === null), SOON).toEqual([]);
        await expectAll();
      }
    });

    it('have their accounts when Langflow comes back, whatever was under way when it went', async () => {
      const until = langflow.hits.length + randomInt(1, ALL_HITS);
      const asked = all(accountOf);
      await Promise.race([langflow.waitFor(() => langflow.hits.length >= until), asked]);
      langflow.set({ down: true });
      await asked;
      langflow.set({ down: 503 });
      await all(accountOf);
      langflow.set({ down: false });
      langflow.settle();
      await expectAll();
    });

    it('are removed, all of them, whenever a replica is killed', async () => {
      await expectAll();
      const ids = (await all(accountOf)).map((account) => account!.id);
      const remove = (clients: Clients, user: number) =>
        clients.integrations.deleteAccount({ accountId: ids[user]! }).then(
          () => true,
          (error: unknown) => {
            if (asFailure(error).reason !== 'ACCOUNT_NOT_FOUND') throw error;
            return true;
          },
        );
      await killedAt(randomInt(1, USERS), remove);
      await expect.poll(async () => (await all(remove)).filter((gone) => gone === null), SOON).toEqual([]);
      expect(users()).toEqual([]);
      expect(await database.sql('select id from latchkey.provider_account where tenant_id = $1', [tenant])).toEqual([]);
      expect(await database.sql('select id from latchkey.connection where tenant_id = $1', [tenant])).toEqual([]);
    });
  },
);
