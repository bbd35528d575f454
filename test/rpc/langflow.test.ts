import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AccountStatus } from '../../gen/latchkey/v1/account_pb.ts';
import { HealthStatus } from '../../gen/latchkey/v1/integration_service_pb.ts';
import { failureOf } from '../harness/errors.ts';
import type { LangflowFake } from '../harness/langflow.ts';
import { langflowTargets } from '../harness/langflow-targets.ts';
import { type Clients, TestServer } from '../harness/server.ts';

/** Tenants do not meet again at a Langflow that outlives the test. */
const RUN = randomUUID().slice(0, 8);
const LANGFLOW = { provider: 'langflow' };
const ABSENT = '00000000-0000-4000-8000-000000000000';
let tenants = 0;

describe.each(langflowTargets())('LangflowService and accounts at $name', ({ start, echo, fails, transports }) => {
  let server: TestServer;
  let url: string;
  let fake: LangflowFake | null;
  beforeAll(async () => {
    const started = await start();
    ({ url, fake } = started);
    server = await TestServer.start({
      env: { LANGFLOW_BASE_URL: url, LANGFLOW_ADMIN_API_KEY: started.adminKey, SANDBOX: 'off' },
    });
  });
  afterAll(async () => {
    await server.stop();
    await fake?.close();
  });

  describe.each(transports)('over %s', (transport) => {
    let tenant = '';
    let clients: Clients;
    const user = (subject: string) => server.as('requestor', { tenant, subject, transport });
    beforeEach(async () => {
      tenant = `langflow-${RUN}-${++tenants}`;
      fake?.forgetLogins();
      clients = await user('ada');
    });

    it('makes an account that can be used, once', async () => {
      const [{ account }, { account: again }] = await Promise.all([
        clients.integrations.ensureAccount(LANGFLOW),
        clients.integrations.ensureAccount(LANGFLOW),
      ]);
      expect(account).toMatchObject({ provider: 'langflow', baseUrl: url, status: AccountStatus.ACTIVE });
      expect(again).toMatchObject({ id: account!.id, connectionId: account!.connectionId });
      const { connectionId } = account!;
      const { connection } = await clients.connections.getConnection({ connectionId });
      expect(connection).toMatchObject({ provider: 'langflow', baseUrl: url, ownerUserId: account!.ownerUserId });
      const { headers } = await clients.connections.getCredentials({ connectionId });
      expect(headers.map(({ name }) => name)).toEqual(['x-api-key']);
      const who = await fetch(`${url}/api/v1/users/whoami`, { headers: { 'x-api-key': headers[0]!.value } });
      expect(await who.json()).toMatchObject({ id: account!.providerAccountId, username: account!.username });
      const other = await (await user('bob')).integrations.ensureAccount(LANGFLOW);
      expect(other.account!.providerAccountId).not.toBe(account!.providerAccountId);
    });

    it('answers tokens that last, and renews them when asked to', async () => {
      const tokens = async () => {
        const { result } = await clients.connections.ensureTokens(LANGFLOW);
        expect(result.case).toBe('credentials');
        return result.case === 'credentials' ? result.value.headers[0]! : null;
      };
      const first = await tokens();
      expect(first?.name).toBe('Authorization');
      expect(await tokens()).toEqual(first);
      const flows = await fetch(`${url}/api/v1/flows/?get_all=true`, { headers: { authorization: first!.value } });
      expect(flows.status).toBe(200);
      const { expireTime } = await clients.langflow.refreshTokens({});
      expect(Number(expireTime!.seconds) * 1000).toBeGreaterThan(Date.now());
      const renewed = await tokens();
      const headers = { authorization: renewed!.value };
      expect((await fetch(`${url}/api/v1/flows/?get_all=true`, { headers })).status).toBe(200);
      expect(
        await failureOf(clients.connections.ensureTokens({ ...LANGFLOW, minValidFor: { seconds: 80_000n } })),
      ).toMatchObject({ reason: 'TOKEN_LIFETIME_TOO_SHORT' });
    });

    it('answers the key of the caller, and says so in the audit log', async () => {
      const { apiKey, baseUrl } = await clients.langflow.getApiKey({});
      expect(baseUrl).toBe(url);
      const { account } = await clients.integrations.ensureAccount(LANGFLOW);
      const { headers } = await clients.connections.getCredentials({ connectionId: account!.connectionId });
      expect(headers[0]!.value).toBe(apiKey);
      const admin = await server.as('admin', { tenant, transport });
      await expect
        .poll(async () => {
          const { entries } = await admin.audit.listAuditEntries({});
          return entries.filter(({ action }) => action === 'account_key_read').map(({ resourceId }) => resourceId);
        })
        .toEqual([account!.id]);
      expect(JSON.stringify(server.logLines)).not.toContain(apiKey);
    });

    it('makes flows, answers them and lists them by pages and filters', async () => {
      const { flow } = await clients.langflow.createFlow({
        name: 'first',
        description: 'It says hello',
        data: { nodes: [], edges: [] },
      });
      expect(flow).toMatchObject({ name: 'first', description: 'It says hello', component: false });
      const { flow: again } = await clients.langflow.createFlow({ name: 'first' });
      expect(again!.id).not.toBe(flow!.id);
      await clients.langflow.createFlow({ name: 'second' });
      const got = await clients.langflow.getFlow({ flowId: flow!.id });
      expect(got.flow).toMatchObject({ id: flow!.id, name: 'first', data: { nodes: [], edges: [] } });
      const all = await clients.langflow.listFlows({ withTotalSize: true, component: false });
      const names = all.flows.map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining(['first', again!.name, 'second']));
      expect(names).toEqual([...names].sort());
      expect(all.totalSize).toBe(names.length);
      expect(all.flows.every(({ data }) => data === undefined)).toBe(true);
      const found = await clients.langflow.listFlows({ text: 'HELLO' });
      expect(found.flows.map(({ id }) => id)).toEqual([flow!.id]);
      const one = await clients.langflow.listFlows({ pageSize: 1, component: false });
      const next = await clients.langflow.listFlows({ pageSize: 1, component: false, pageToken: one.nextPageToken });
      expect([...one.flows, ...next.flows].map(({ id }) => id)).toEqual(all.flows.slice(0, 2).map(({ id }) => id));
      expect(
        await failureOf(clients.langflow.listFlows({ pageToken: one.nextPageToken, text: 'other' })),
      ).toMatchObject({ reason: 'PAGE_TOKEN_INVALID' });
    });

    it('runs a flow in a conversation of its own', async () => {
      const { flow } = await clients.langflow.createFlow(echo);
      const run = { flowId: flow!.id, inputValue: 'hello' };
      const [first, second] = [await clients.langflow.runFlow({ run }), await clients.langflow.runFlow({ run })];
      expect(first.sessionId).toMatch(/^[0-9a-f-]{36}$/);
      expect(second.sessionId).not.toBe(first.sessionId);
      expect(first.answer).toMatchObject({ session_id: first.sessionId });
      const mine = await clients.langflow.runFlow({ run: { ...run, sessionId: 'mine' } });
      expect(mine).toMatchObject({ sessionId: 'mine', answer: { session_id: 'mine' } });
      expect(mine.text).toBe('hello');
    });

    it('answers a run as it goes on', async () => {
      const { flow } = await clients.langflow.createFlow(echo);
      const events = [];
      const run = { flowId: flow!.id, inputValue: 'hello', sessionId: 'mine' };
      for await (const { event } of clients.langflow.streamFlowRun({ run })) events.push(event);
      const last = events.at(-1)!;
      expect(last.case).toBe('end');
      expect(last.value).toMatchObject({ sessionId: 'mine' });
      expect(last.value).toMatchObject({ text: 'hello' });
      // 1.0 does not stream.
      if (events.length > 1) expect(events.map(({ case: kind }) => kind)).toContain('message');
      expect(events.filter(({ case: kind }) => kind === 'end')).toHaveLength(1);
    });

    it('says that a run failed, and none of the words of its failure', async () => {
      const { flow } = await clients.langflow.createFlow(fails);
      const run = { flowId: flow!.id, inputValue: 'hello' };
      const failed = { reason: 'FLOW_RUN_FAILED', metadata: { provider_error: 'flow_failed' } };
      const answered: unknown[] = [];
      const streamed = async () => {
        for await (const { event } of clients.langflow.streamFlowRun({ run })) answered.push(event.value);
      };
      const failures = [await failureOf(clients.langflow.runFlow({ run })), await failureOf(streamed())];
      for (const failure of failures) expect(failure).toMatchObject(failed);
      expect(JSON.stringify([failures, answered, server.logLines])).not.toMatch(/Traceback|planted|ran into a wall/);
    });

    it('shows nobody the flows of another', async () => {
      const { flow } = await clients.langflow.createFlow({ name: 'mine alone' });
      const bob = await user('bob');
      const flowId = flow!.id;
      const found = await bob.langflow.listFlows({ text: 'mine alone' });
      expect(found.flows).toEqual([]);
      expect(await failureOf(bob.langflow.getFlow({ flowId }))).toMatchObject({
        reason: 'FLOW_NOT_FOUND',
        metadata: { flow_id: flowId },
      });
      // Before 1.7 Langflow itself runs it.
      expect(await failureOf(bob.langflow.runFlow({ run: { flowId } }))).toMatchObject({ reason: 'FLOW_NOT_FOUND' });
    });

    it('says of what is not there that it is not', async () => {
      const absent = { reason: 'FLOW_NOT_FOUND', code: 'NotFound', metadata: { flow_id: ABSENT } };
      expect(await failureOf(clients.langflow.getFlow({ flowId: ABSENT }))).toMatchObject(absent);
      const run = { flowId: ABSENT };
      expect(await failureOf(clients.langflow.runFlow({ run }))).toMatchObject(absent);
      const streamed = async () => {
        for await (const _ of clients.langflow.streamFlowRun({ run })) throw new Error('it answered');
      };
      expect(await failureOf(streamed())).toMatchObject(absent);
    });

    it('refuses bad input before anything is sent', async () => {
      const refused = async (call: Promise<unknown>) => (await failureOf(call)).fields;
      expect(await refused(clients.langflow.getFlow({ flowId: 'mine' }))).toEqual(['flow_id']);
      expect(await refused(clients.langflow.runFlow({ run: { flowId: '../../users' } }))).toEqual(['run.flow_id']);
      expect(await refused(clients.langflow.runFlow({}))).toEqual(['run']);
      expect(await refused(clients.langflow.createFlow({ name: '' }))).toEqual(['name']);
      expect(await refused(clients.langflow.createFlow({ name: 'x', data: { nodes: 1 } }))).toEqual(['data']);
      expect(await refused(clients.integrations.ensureAccount({ provider: 'slack' }))).toEqual(['provider']);
    });

    it('deletes an account, there too, and makes another one', async () => {
      const { account } = await clients.integrations.ensureAccount(LANGFLOW);
      const { apiKey } = await clients.langflow.getApiKey({});
      const accountId = account!.id;
      const bob = await user('bob');
      expect(await failureOf(bob.integrations.deleteAccount({ accountId }))).toMatchObject({
        reason: 'ACCOUNT_NOT_FOUND',
        metadata: { account_id: accountId },
      });
      await clients.integrations.deleteAccount({ accountId });
      const who = await fetch(`${url}/api/v1/users/whoami`, { headers: { 'x-api-key': apiKey } });
      expect([401, 403]).toContain(who.status);
      expect(await failureOf(clients.connections.getConnection({ connectionId: account!.connectionId }))).toMatchObject(
        { reason: 'CONNECTION_NOT_FOUND' },
      );
      expect(await failureOf(clients.integrations.deleteAccount({ accountId }))).toMatchObject({
        reason: 'ACCOUNT_NOT_FOUND',
      });
      fake?.forgetLogins();
      const { account: next } = await clients.integrations.ensureAccount(LANGFLOW);
      expect(next!.id).not.toBe(accountId);
      expect(next!.status).toBe(AccountStatus.ACTIVE);
    });

    it('tells anybody whether it works', async () => {
      const nobody = server.clients(transport);
      const { health } = await nobody.langflow.checkHealth({});
      expect(health).toMatchObject({ provider: 'langflow', status: HealthStatus.SERVING, message: '' });
      expect(health!.version).toMatch(/^\d+\.\d+/);
      expect(health!.latency).toBeDefined();
      const { providers } = await nobody.integrations.checkAllProvidersHealth({});
      expect(providers.find(({ provider }) => provider === 'langflow')).toEqual(health);
      expect(providers.find(({ provider }) => provider === 'slack')?.status).toBe(HealthStatus.UNKNOWN);
      expect(await nobody.integrations.checkProviderHealth({ provider: 'langflow' })).toMatchObject({ health });
    });
  });
});
