import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { ProviderRevocation } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { authorizeAt, setUp } from '../harness/authorizations.ts';
import { failureOf } from '../harness/errors.ts';
import { type Answer, type OAuthChanges, ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let provider: ScriptedProvider;
let clients: Clients;
let tenant = '';
let tenants = 0;

const SOON = { timeout: 10_000, interval: 25 };
const GRANTED = { access_token: 'at-live', token_type: 'bearer', refresh_token: 'rt-live' };

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
  provider.answers('/token', { body: GRANTED });
  tenant = `revocations-${++tenants}`;
  clients = await server.as('admin', { tenant });
});

type Row = { id: string; status: string; attempts: number; last_error: string; sealed: Buffer | null; row: string };

async function revocation(): Promise<Row | undefined> {
  const found = 'select r.*, r::text as row from latchkey.revocation r where tenant_id = $1';
  return (await server.database.sql<Row>(found, [tenant]))[0];
}

const statusOf = async () => (await revocation())?.status;

const auditOf = async (resourceId: string) => {
  const { entries } = await clients.audit.listAuditEntries({ pageSize: 100 });
  return entries.filter((entry) => entry.resourceId === resourceId).map(({ action }) => action);
};

/** In place of the pause before the next attempt. */
const tryNow = async () =>
  server.database.sql(`update graphile_worker._private_jobs set run_at = now() where payload ->> 'tenantId' = $1`, [
    tenant,
  ]);

async function connected(oauth: OAuthChanges = {}): Promise<string> {
  const integrationId = await setUp(clients, provider.definition('scripted', oauth));
  return (await authorizeAt(clients, integrationId)).connectionId;
}

const revoke = async (connectionId: string) => {
  const { connection, providerRevocation } = await clients.connections.revokeConnection({ connectionId });
  expect(connection!.status).toBe(ConnectionStatus.REVOKED);
  return providerRevocation;
};

describe('A revoked connection', () => {
  it('is revoked at the provider, once, and audited; its tokens are forgotten', async () => {
    const connectionId = await connected();
    expect(await revoke(connectionId)).toBe(ProviderRevocation.SCHEDULED);
    await expect.poll(statusOf, SOON).toBe('REVOKED');
    expect(await revoke(connectionId)).toBe(ProviderRevocation.NOTHING);
    expect(provider.to('/revoke').map(({ body }) => body)).toEqual([
      { token: 'rt-live', token_type_hint: 'refresh_token', client_id: 'latchkey', client_secret: 'right-secret' },
    ]);
    const { sealed, row } = (await revocation())!;
    expect(sealed).toBeNull();
    expect(row).not.toMatch(/at-live|rt-live|right-secret/);
    expect(await auditOf(connectionId)).toEqual(expect.arrayContaining(['connection_revoked', 'grant_revoked']));
  });

  it('is of no use any more before the provider is asked', async () => {
    const connectionId = await connected();
    await clients.connections.getCredentials({ connectionId });
    let reason = '';
    provider.answers('/revoke', async () => {
      reason = (await failureOf(clients.connections.getCredentials({ connectionId }))).reason;
      return {};
    });
    await revoke(connectionId);
    expect((await failureOf(clients.connections.getCredentials({ connectionId }))).reason).toBe(
      'REAUTHORIZATION_REQUIRED',
    );
    await expect.poll(statusOf, SOON).toBe('REVOKED');
    expect(reason).toBe('REAUTHORIZATION_REQUIRED');
  });

  it('that is deleted is revoked at the provider, too', async () => {
    const connectionId = await connected();
    await clients.connections.deleteConnection({ connectionId });
    await expect.poll(statusOf, SOON).toBe('REVOKED');
    expect(provider.count('/revoke')).toBe(1);
    expect(await auditOf(connectionId)).toEqual(expect.arrayContaining(['connection_deleted', 'grant_revoked']));
  });

  it('of a provider without revocation is revoked here alone', async () => {
    const connectionId = await connected({ revocation: undefined });
    expect(await revoke(connectionId)).toBe(ProviderRevocation.UNSUPPORTED);
    expect(await revocation()).toBeUndefined();
    expect(provider.count('/revoke')).toBe(0);
  });

  it('that was never authorized has nothing to revoke', async () => {
    provider.answers('/token', { status: 400, body: { error: 'invalid_grant' } });
    expect(await revoke(await connected())).toBe(ProviderRevocation.NOTHING);
    expect(provider.count('/revoke')).toBe(0);
  });
});

describe('A grant that several connections share', () => {
  async function sharing(count: number): Promise<string[]> {
    const integrationId = await setUp(clients, provider.definition('scripted'));
    const ids: string[] = [];
    for (let i = 0; i < count; i++) ids.push((await authorizeAt(clients, integrationId, `c-${i}`)).connectionId);
    return ids;
  }

  it('is revoked with the last of them', async () => {
    const [one, two] = await sharing(2);
    expect(await revoke(one!)).toBe(ProviderRevocation.SHARED);
    await clients.connections.getCredentials({ connectionId: two! });
    expect(provider.count('/revoke')).toBe(0);
    expect(await revoke(two!)).toBe(ProviderRevocation.SCHEDULED);
    await expect.poll(statusOf, SOON).toBe('REVOKED');
  });

  it('is revoked with the last of them where all go at once', async () => {
    const ids = await sharing(6);
    const outcomes = await Promise.all(ids.map(revoke));
    expect(outcomes.filter((outcome) => outcome === ProviderRevocation.SCHEDULED)).toHaveLength(1);
    await expect.poll(statusOf, SOON).toBe('REVOKED');
    expect(provider.count('/revoke')).toBe(1);
  });
});

describe('A provider that does not revoke at once', () => {
  it('is asked again until it does, each failure audited', async () => {
    provider.answers('/revoke', { status: 503 }, { reset: 'after' }, {});
    const connectionId = await connected();
    await revoke(connectionId);
    for (const attempts of [1, 2]) {
      await expect.poll(async () => (await revocation())?.attempts, SOON).toBe(attempts);
      expect(await revocation()).toMatchObject({ status: 'PENDING', sealed: expect.any(Buffer) });
      await expect.poll(tryNowUntilMoved, SOON).toBe(true);
    }
    await expect.poll(statusOf, SOON).toBe('REVOKED');
    expect((await revocation())!.sealed).toBeNull();
    expect(provider.count('/revoke')).toBe(3);
    const actions = await auditOf(connectionId);
    expect(actions.filter((action) => action === 'grant_still_live')).toHaveLength(2);
  });

  it.each<[Record<string, string>, number, number]>([
    [{}, 25, 65],
    [{ 'retry-after': '600' }, 595, 605],
    [{ 'retry-after': '0' }, 25, 65],
    [{ 'retry-after': '999999' }, 3_595, 3_605],
  ])('is left alone for a while: %j', async (headers, least, most) => {
    provider.answers('/revoke', { status: 503, headers });
    await revoke(await connected());
    const pauseS = async () => {
      const [job] = await server.database.sql<{ s: number }>(
        `select extract(epoch from run_at - now())::float as s from graphile_worker._private_jobs where payload ->> 'tenantId' = $1 and locked_at is null and key is not null`,
        [tenant],
      );
      return job?.s ?? -1;
    };
    await expect.poll(pauseS, SOON).toBeGreaterThan(least);
    expect(await pauseS()).toBeLessThan(most);
    expect(provider.count('/revoke')).toBe(1);
  });

  it('is asked for a day', async () => {
    provider.answers('/revoke', { status: 503 });
    const connectionId = await connected();
    await revoke(connectionId);
    await expect.poll(async () => (await revocation())?.attempts, SOON).toBe(1);
    const aDayAgo = `update latchkey.revocation set create_time = create_time - interval '1 day' where tenant_id = $1`;
    await server.database.sql(aDayAgo, [tenant]);
    await expect.poll(tryNowUntilMoved, SOON).toBe(true);
    await expect.poll(statusOf, SOON).toBe('GIVEN_UP');
    expect(await revocation()).toMatchObject({ sealed: null, last_error: 'http_503' });
    expect(await auditOf(connectionId)).toContain('grant_revocation_given_up');
  });

  /** The next attempt is put off just after the last one is noted. */
  async function tryNowUntilMoved(): Promise<boolean> {
    const waiting = await server.database.sql(
      `select 1 from graphile_worker._private_jobs where payload ->> 'tenantId' = $1 and locked_at is null and run_at > now()`,
      [tenant],
    );
    if (waiting.length === 0) return false;
    await tryNow();
    return true;
  }
});

describe('What a provider answers to a revocation', () => {
  const slack: OAuthChanges['revocation'] = { url: '', failurePointer: '/ok', failureWhen: 'false' };
  it.each<[Answer, string, string, OAuthChanges['revocation']?]>([
    [{ status: 204 }, 'REVOKED', ''],
    [{ body: 'ok' }, 'REVOKED', ''],
    [{ status: 404, body: {} }, 'REVOKED', ''],
    [{ status: 400, body: { error: 'invalid_token' } }, 'REVOKED', ''],
    [{ status: 400, body: { error: 'unsupported_token_type' } }, 'GIVEN_UP', 'unsupported_token_type'],
    [{ status: 401, body: { error: 'invalid_client' } }, 'GIVEN_UP', 'invalid_client'],
    [{ status: 302, headers: { location: '/elsewhere' } }, 'GIVEN_UP', 'http_302'],
    [{ body: { ok: true } }, 'REVOKED', '', slack],
    [{ body: { ok: false, error: 'invalid_auth' } }, 'REVOKED', '', slack],
    [{ body: { ok: false, error: 'cannot' } }, 'GIVEN_UP', 'cannot', slack],
  ])('%j settles it', async (answer, status, lastError, changes = { url: '' }) => {
    provider.answers('/revoke', answer);
    await revoke(await connected({ revocation: { ...changes, url: `${provider.url}/revoke` } }));
    await expect.poll(statusOf, SOON).toBe(status);
    expect(await revocation()).toMatchObject({ last_error: lastError, attempts: 1, sealed: null });
    expect(provider.requests.filter(({ path }) => /revoke|elsewhere/.test(path))).toHaveLength(1);
  });

  it('is an address that may not be reached: given up', async () => {
    const url = `http://localhost:${server.replica.httpPort}/revoke`;
    await revoke(await connected({ revocation: { url } }));
    await expect.poll(statusOf, SOON).toBe('GIVEN_UP');
    expect((await revocation())!.last_error).toBe('ADDRESS_FORBIDDEN');
  });
});

describe('The request of a revocation', () => {
  const basic = `Basic ${Buffer.from('latchkey:right-secret').toString('base64')}`;
  it.each<[string, NonNullable<OAuthChanges['revocation']>, Record<string, unknown>]>([
    [
      'GitHub’s',
      {
        url: '',
        method: 'DELETE',
        authentication: 'client_secret_basic',
        bodyFormat: 'json',
        token: 'access_token',
        tokenParameter: 'access_token',
      },
      { method: 'DELETE', body: { access_token: 'at-live' }, headers: { authorization: basic } },
    ],
    [
      'Slack’s',
      { url: '', authentication: 'bearer', bodyFormat: 'none', token: 'access_token' },
      { method: 'POST', text: '', headers: { authorization: 'Bearer at-live' } },
    ],
    [
      'Stripe’s',
      { url: '', token: 'none', parameters: { account: '{account}', client: '{client_id}' } },
      { body: { account: 'acct_1', client: 'latchkey', client_id: 'latchkey', client_secret: 'right-secret' } },
    ],
    [
      'one without authentication',
      { url: '', authentication: 'none', headers: { Accept: 'text/plain' } },
      { body: { token: 'rt-live', token_type_hint: 'refresh_token' }, headers: { accept: 'text/plain' } },
    ],
  ])('is as the definition has it: %s', async (_, revocationOf, expected) => {
    provider.answers('/token', { body: { ...GRANTED, account: 'acct_1' } });
    const connectionId = await connected({
      revocation: { ...revocationOf, url: `${provider.url}/revoke` },
      answer: { kept: { account: '/account' } },
    });
    expect(await revoke(connectionId)).toBe(ProviderRevocation.SCHEDULED);
    await expect.poll(statusOf, SOON).toBe('REVOKED');
    expect(provider.to('/revoke')[0]).toMatchObject(expected);
  });

  it('that cannot be made is no reason to keep a connection', async () => {
    const connectionId = await connected({
      revocation: { url: `${provider.url}/revoke/{account}` },
      answer: { kept: { account: '/account' } },
    });
    expect(await revoke(connectionId)).toBe(ProviderRevocation.UNSUPPORTED);
    expect(provider.requests.filter(({ path }) => path.startsWith('/revoke'))).toEqual([]);
  });

  it('is made with the next client secret where the first is refused', async () => {
    const definition = provider.definition('scripted');
    const credentials = { clientId: 'c', clientSecrets: ['old', 'new'] };
    const { connectionId } = await authorizeAt(clients, await setUp(clients, definition, {}, credentials));
    provider.answers('/revoke', ({ body }) =>
      body.client_secret === 'new' ? {} : { status: 401, body: { error: 'invalid_client' } },
    );
    await revoke(connectionId);
    await expect.poll(statusOf, SOON).toBe('REVOKED');
    expect(provider.to('/revoke').map(({ body }) => body.client_secret)).toEqual(['old', 'new']);
  });
});
