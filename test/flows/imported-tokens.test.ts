import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { credentialOf, setUp } from '../harness/authorizations.ts';
import { secret } from '../harness/credentials.ts';
import { failureOf } from '../harness/errors.ts';
import { ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let provider: ScriptedProvider;
let clients: Clients;
let tenants = 0;

beforeAll(async () => {
  server = await TestServer.start();
  provider = await ScriptedProvider.start();
});
afterAll(async () => {
  await server.stop();
  await provider.stop();
});
beforeEach(async () => {
  clients = await server.as('admin', { tenant: `imported-${++tenants}` });
});
afterEach(() => vi.useRealTimers());

const inSeconds = (s: number) => ({ seconds: BigInt(s) });

/** Tokens that were granted elsewhere, with 300 seconds left. */
async function importTokens(integrationId = '', refreshToken = 'rt-imported'): Promise<string> {
  const value = {
    ...{ accessToken: secret('at-imported'), scopes: ['read'] },
    ...(refreshToken ? { refreshToken: secret(refreshToken) } : {}),
    expireTime: inSeconds(Math.floor(Date.now() / 1000) + 300),
  };
  const credential = { kind: { case: 'oauth2' as const, value } };
  return (await clients.connections.createConnection({ name: 'c', credential, integrationId })).connection!.id;
}

describe('Imported tokens', () => {
  it('are handed out until they expire; then a person must act', async () => {
    const integrationId = await setUp(clients, provider.definition('scripted'));
    const connectionId = await importTokens(integrationId, '');
    expect(await credentialOf(clients, connectionId)).toMatchObject({ accessToken: 'at-imported', scopes: ['read'] });
    const now = Date.now();
    vi.useFakeTimers({ toFake: ['Date'], now: now + 290_000 });
    expect((await credentialOf(clients, connectionId)).accessToken).toBe('at-imported');
    vi.setSystemTime(now + 301_000);
    expect(await failureOf(clients.connections.getCredentials({ connectionId }))).toMatchObject({
      ...{ code: 'FailedPrecondition', reason: 'REAUTHORIZATION_REQUIRED' },
      metadata: { cause: 'expired', reconnect_url: expect.stringContaining('/oauth/start?reconnect=') },
    });
    const status = await clients.connections.getConnectionStatus({ connectionId });
    expect(status).toMatchObject({
      ...{ status: ConnectionStatus.REAUTHORIZATION_REQUIRED, reason: 'REAUTHORIZATION_REQUIRED', tokenValid: false },
    });
  });

  it('have nobody to be sent to where they belong to no integration', async () => {
    const connectionId = await importTokens();
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 301_000 });
    const failure = await failureOf(clients.connections.getCredentials({ connectionId }));
    expect(failure).toMatchObject({ reason: 'REAUTHORIZATION_REQUIRED', metadata: { cause: 'expired' } });
    expect(failure.metadata).not.toHaveProperty('reconnect_url');
  });

  it('are refused where they do not live as long as is asked for', async () => {
    const connectionId = await importTokens();
    const asked = (s: number) => clients.connections.getCredentials({ connectionId, minValidFor: inSeconds(s) });
    expect((await asked(200)).headers[0]!.value).toBe('Bearer at-imported');
    const failure = await failureOf(asked(400));
    expect(failure).toMatchObject({ code: 'FailedPrecondition', reason: 'TOKEN_LIFETIME_TOO_SHORT' });
    expect(Number(failure.metadata.valid_for_s)).toBeGreaterThan(280);
    expect(Number(failure.metadata.valid_for_s)).toBeLessThanOrEqual(300);
  });

  it('never give their refresh token away', async () => {
    const connectionId = await importTokens();
    const answers = [
      await clients.connections.getCredentials({ connectionId }),
      await clients.connections.getConnection({ connectionId }),
      await clients.connections.listConnections({}),
      await clients.connections.getConnectionStatus({ connectionId }),
      await clients.connections.updateConnection({ connectionId, displayName: 'renamed' }),
      await clients.audit.listAuditEntries({}),
    ];
    const text = JSON.stringify(answers, (_, value) => (typeof value === 'bigint' ? String(value) : value));
    expect(text).toContain('at-imported');
    expect(text).not.toContain('rt-imported');
    expect(server.logLines.join()).not.toMatch(/[ar]t-imported/);
  });
});
