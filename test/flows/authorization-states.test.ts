import { createHash } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { callbackUris, connect, credentialOf, setUp } from '../harness/authorizations.ts';
import { Browser } from '../harness/browser.ts';
import { failureOf } from '../harness/errors.ts';
import { ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let provider: ScriptedProvider;
let clients: Clients;
let integrationId: string;
let tenants = 0;

const NAME = 'scripted';
const APP = 'https://app.example.com';

beforeAll(async () => {
  server = await TestServer.start();
  provider = await ScriptedProvider.start();
});
afterAll(async () => {
  await server.stop();
  await provider.stop();
});
beforeEach(async () => {
  provider.reset();
  clients = await server.as('admin', { tenant: `states-${++tenants}` });
  integrationId = await setUp(clients, provider.definition(NAME), { returnUrls: [APP] });
});

/** A browser that was at the provider, on its way back. */
async function onTheWayBack(name = 'mine') {
  const browser = new Browser();
  const { url, id, connectionId } = await connect(clients, integrationId, name);
  const { url: callback } = await browser.goto(url, { stopAt: callbackUris(server, NAME)[0]! });
  return { browser, callback, id, connectionId, url };
}

/** The same where an application takes what comes back. */
async function backAtApplication() {
  const { url, id, connectionId } = await connect(clients, integrationId, 'mine', { redirectUri: `${APP}/back` });
  const { url: arrived } = await new Browser().goto(url, { stopAt: APP });
  return { callbackQuery: new URL(arrived).search.slice(1), id, connectionId };
}

/** Lets time pass for one authorization. */
const age = (id: string, column: 'expire_time' | 'claim_time', minutes: number) =>
  server.database.sql(
    `update latchkey.app_authorization set ${column} = ${column} - $2 * interval '1 minute' where id = $1`,
    [id, minutes],
  );

const statusOf = async (authorizationId: string) =>
  (await clients.connections.getAuthorization({ authorizationId })).authorization!.status;

describe('A state', () => {
  it('is good for ten minutes', async () => {
    const { browser, callback, id } = await onTheWayBack();
    await age(id, 'expire_time', 10);
    expect((await browser.goto(callback)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(await statusOf(id)).toBe(AuthorizationStatus.EXPIRED);
    expect(provider.count('/token')).toBe(0);
  });

  it('is given for a ticket that is not older', async () => {
    const { url, id } = await connect(clients, integrationId, 'mine');
    await age(id, 'expire_time', 10);
    provider.authorized = new URLSearchParams();
    expect((await new Browser().goto(url)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(provider.authorized.size).toBe(0);
  });

  it('is good once: the same answer again is told of the first, another is refused', async () => {
    const { browser, callback } = await onTheWayBack();
    for (let turn = 0; turn < 3; turn++) expect((await browser.goto(callback)).text).toContain('is connected');
    const other = callback.replace(/code=[^&]+/, 'code=another');
    expect((await browser.goto(other)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(provider.count('/token')).toBe(1);
  });

  it('tells of a failure again, too', async () => {
    provider.answers('/token', { status: 400, body: { error: 'invalid_grant' } });
    const { browser, callback } = await onTheWayBack();
    for (let turn = 0; turn < 3; turn++) expect((await browser.goto(callback)).text).toContain('invalid_grant');
    expect(provider.count('/token')).toBe(1);
  });

  it('tells nobody anything ten minutes after it was used', async () => {
    const { browser, callback, id } = await onTheWayBack();
    await browser.goto(callback);
    await age(id, 'claim_time', 10);
    expect((await browser.goto(callback)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(provider.count('/token')).toBe(1);
  });

  it('is of use to its own browser alone, used or not', async () => {
    const { browser, callback } = await onTheWayBack();
    const { browser: eve } = await onTheWayBack('other');
    for (const arrive of [eve, new Browser()])
      expect((await arrive.goto(callback)).text).toContain('AUTHORIZATION_STATE_INVALID');
    await browser.goto(callback);
    expect((await eve.goto(callback)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(provider.count('/token')).toBe(1);
  });

  it('of a browser is of no use to an application, nor the other way', async () => {
    const { callback } = await onTheWayBack();
    const callbackQuery = new URL(callback).search.slice(1);
    const failure = await failureOf(clients.connections.completeAuthorization({ callbackQuery }));
    expect(failure.reason).toBe('AUTHORIZATION_STATE_INVALID');
    const { callbackQuery: ofApplication } = await backAtApplication();
    const { browser } = await onTheWayBack('third');
    const page = await browser.goto(`${callbackUris(server, NAME)[0]}?${ofApplication}`);
    expect(page.text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(provider.count('/token')).toBe(0);
  });

  it('is taken from the application’s caller alone', async () => {
    const { callbackQuery, connectionId } = await backAtApplication();
    const tenant = `states-${tenants}`;
    const strangers = [
      await server.as('admin', { tenant: `${tenant}-other` }),
      await server.as('admin', { tenant, subject: 'colleague' }),
      server.operator(),
    ];
    for (const stranger of strangers) {
      const failure = await failureOf(stranger.connections.completeAuthorization({ callbackQuery }));
      expect(failure).toMatchObject({ code: 'InvalidArgument', reason: 'AUTHORIZATION_STATE_INVALID' });
    }
    expect(provider.count('/token')).toBe(0);
    const calls = Array.from({ length: 20 }, () => clients.connections.completeAuthorization({ callbackQuery }));
    const answers = await Promise.all(calls);
    expect(new Set(answers.map(({ authorization }) => authorization!.status))).toEqual(
      new Set([AuthorizationStatus.SUCCEEDED]),
    );
    expect(provider.count('/token')).toBe(1);
    expect((await credentialOf(clients, connectionId)).accessToken).toMatch(/^at-/);
  });

  it.each(['', 'state=', 'code=x', 'state=x&state=y&code=z', `state=${'A'.repeat(43)}&code=x`, '%00=%00&state=%00'])(
    'is not found in %j',
    async (callbackQuery) => {
      const { browser } = await onTheWayBack();
      const page = await browser.goto(`${callbackUris(server, NAME)[0]}?${callbackQuery}`);
      expect(page).toMatchObject({ status: 400, text: expect.stringContaining('AUTHORIZATION_STATE_INVALID') });
      expect(provider.count('/token')).toBe(0);
    },
  );

  it.each(['code', 'error', 'state'])('is no excuse for two %s', async (name) => {
    const { browser, callback } = await onTheWayBack();
    const twice = new URL(callback);
    for (const value of ['one', 'two']) twice.searchParams.append(name, value);
    const page = await browser.goto(twice.href);
    expect(page.text).toContain('Your account was not connected');
    expect(provider.count('/token')).toBe(0);
  });

  it('ends where its connection was deleted meanwhile', async () => {
    const { promise: until, resolve: release } = Promise.withResolvers<void>();
    provider.answers('/token', { body: { access_token: 'at', token_type: 'bearer' }, until });
    const { browser, callback, connectionId } = await onTheWayBack();
    const arriving = browser.goto(callback);
    await expect.poll(() => provider.count('/token')).toBe(1);
    await clients.connections.deleteConnection({ connectionId });
    release();
    const page = await arriving;
    expect(page).toMatchObject({ status: 400, text: expect.stringContaining('CONNECTION_NOT_FOUND') });
  });
});

describe('PKCE', () => {
  /** All that the database holds, as its superuser sees it. */
  async function dump(): Promise<string> {
    const tables = await server.database.sql<{ name: string }>(
      `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('latchkey', 'graphile_worker')`,
    );
    const rows = tables.map(({ name }) => server.database.sql<{ row: string }>(`select t::text as row from ${name} t`));
    return (await Promise.all(rows))
      .flat()
      .map(({ row }) => row)
      .join('\n');
  }

  it('is S256 of a verifier that is new each time, and stored nowhere in clear', async () => {
    const verifiers = new Set<string>();
    const dumps: string[] = [];
    for (const name of ['one', 'two']) {
      const { browser, callback, id } = await onTheWayBack(name);
      const challenge = provider.authorized.get('code_challenge');
      expect(provider.authorized.get('code_challenge_method')).toBe('S256');
      dumps.push(await dump());
      expect(dumps.at(-1)).toContain(id);
      await browser.goto(callback);
      dumps.push(await dump());
      const verifier = provider.to('/token').at(-1)!.body.code_verifier!;
      expect(verifier).toMatch(/^[A-Za-z0-9._~-]{43,128}$/);
      expect(createHash('sha256').update(verifier).digest('base64url')).toBe(challenge);
      verifiers.add(verifier);
    }
    expect(verifiers.size).toBe(2);
    const all = dumps.join();
    for (const verifier of verifiers) {
      expect(all).not.toContain(verifier);
      expect(all).not.toContain(Buffer.from(verifier).toString('hex'));
      expect(all).not.toContain(Buffer.from(verifier).toString('base64'));
      expect(server.logLines.join()).not.toContain(verifier);
    }
  });

  it('has its verifier forgotten once it is used', async () => {
    const { browser, callback, id } = await onTheWayBack();
    const sealedOf = () =>
      server.database.sql<{ there: boolean }>(
        'select sealed is not null as there from latchkey.app_authorization where id = $1',
        [id],
      );
    expect(await sealedOf()).toEqual([{ there: true }]);
    await browser.goto(callback);
    expect(await sealedOf()).toEqual([{ there: false }]);
  });
});
