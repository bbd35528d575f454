import { describe, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { setUp } from '../harness/authorizations.ts';
import { Granting, granted, SLACK } from '../harness/granting.ts';
import { listenHttp } from '../harness/listener.ts';
import type { OAuthChanges, Script } from '../harness/scripted-provider.ts';

const at = new Granting();

describe('An answer of the token endpoint that is none of success', () => {
  it.each<[string, Script, string, string, OAuthChanges?]>([
    ['GitHub’s error with 200', { body: { error: 'bad_code' } }, 'AUTHORIZATION_FAILED', 'bad_code'],
    [
      'the same as a form',
      { body: 'error=bad_verification_code&error_description=The+code+is+wrong' },
      'AUTHORIZATION_FAILED',
      'bad_verification_code',
    ],
    [
      'an error beside a token, where errors have a place',
      { body: { error: 'revoked', access_token: 'at', token_type: 'bearer' } },
      'AUTHORIZATION_FAILED',
      'revoked',
      { errors: { failurePointer: '/error', failureWhen: 'present' } },
    ],
    ['Slack’s ok: false', { body: { ok: false, error: 'no_such' } }, 'AUTHORIZATION_FAILED', 'no_such', SLACK],
    [
      'Slack’s refusal of the client',
      { body: { ok: false, error: 'bad_client_secret' } },
      'INTEGRATION_MISCONFIGURED',
      'bad_client_secret',
      SLACK,
    ],
    ['200 without a token', { body: { token_type: 'bearer' } }, 'AUTHORIZATION_FAILED', ''],
    ['an empty token', granted({ access_token: '' }), 'AUTHORIZATION_FAILED', ''],
    ['a token that is a number', granted({ access_token: 7 }), 'AUTHORIZATION_FAILED', ''],
    ['a token that no header can carry', granted({ access_token: 'at\r\nx-evil: 1' }), 'AUTHORIZATION_FAILED', ''],
    ['an unknown token type', granted({ token_type: 'mac' }), 'AUTHORIZATION_FAILED', ''],
    ['a token bound to a key', granted({ token_type: 'DPoP' }), 'AUTHORIZATION_FAILED', 'token_type_unknown'],
    ['a page', { body: '<!doctype html><p>Hello</p>' }, 'AUTHORIZATION_FAILED', ''],
    ['a list', { body: [] }, 'AUTHORIZATION_FAILED', ''],
    ['half of a document', { body: '{"access_token":"at"' }, 'AUTHORIZATION_FAILED', ''],
    ['invalid_grant', { status: 400, body: { error: 'invalid_grant' } }, 'AUTHORIZATION_FAILED', 'invalid_grant'],
    ['a code with markup', { status: 400, body: { error: '<b>x' } }, 'AUTHORIZATION_FAILED', 'bx'],
    ['500', { status: 500, body: 'oops' }, 'PROVIDER_UNAVAILABLE', 'http_500'],
    ['503 with a document', { status: 503, body: { error: 'busy' } }, 'PROVIDER_UNAVAILABLE', 'busy'],
    ['429', { status: 429, headers: { 'retry-after': '30' } }, 'PROVIDER_RATE_LIMITED', 'http_429'],
    ['invalid_target', { status: 400, body: { error: 'invalid_target' } }, 'INTEGRATION_MISCONFIGURED', ''],
    ['a reset before the request is read', { reset: 'before' }, 'PROVIDER_UNAVAILABLE', ''],
    ['a reset after the request is read', { reset: 'after' }, 'PROVIDER_UNAVAILABLE', ''],
    ['more than 256 KiB', granted({ padding: 'x'.repeat(257 * 1024) }), 'PROVIDER_UNAVAILABLE', ''],
  ])('is refused, once, with nothing stored: %s', async (_, answer, reason, providerError, oauth) => {
    const { authorization, connection, connectionId, page } = await at.authorize(answer, oauth);
    expect(authorization).toMatchObject({ status: AuthorizationStatus.FAILED, reason });
    if (providerError) expect(authorization.providerError).toBe(providerError);
    expect(page.text).toContain(reason);
    expect(connection.grantedScopes).toEqual([]);
    expect(await at.storedOf(connectionId)).toBeUndefined();
    expect(at.provider.count('/token')).toBe(1);
    expect(at.provider.count('/me')).toBe(0);
  });

  it('is refused where it does not come in time', async () => {
    const { promise: until, resolve: release } = Promise.withResolvers<void>();
    const { authorization } = await at.authorize({ ...granted(), until });
    release();
    expect(authorization).toMatchObject({ status: AuthorizationStatus.FAILED, reason: 'PROVIDER_UNAVAILABLE' });
    expect(at.provider.count('/token')).toBe(1);
  });

  it('is refused where it is a redirect, which nobody follows', async () => {
    await using elsewhere = await listenHttp((_, response) => response.end('{"access_token":"stolen"}'));
    for (const status of [302, 307, 308]) {
      await at.enterNewTenant();
      const { authorization } = await at.authorize({ status, headers: { location: elsewhere.url } });
      expect(authorization).toMatchObject({ status: AuthorizationStatus.FAILED, reason: 'AUTHORIZATION_FAILED' });
    }
    expect(elsewhere.connections).toBe(0);
  });
});

describe('The scopes of a refresh', () => {
  /** Nobody knows how old its token is, so that it may be refreshed at once. */
  const lasting = (scope: string | undefined) => granted({ scope, expires_in: undefined });

  it.each<[string, (string | undefined)[], string[], string[]]>([
    ['keep missing what was requested and never granted', ['read', 'read'], ['read'], ['write']],
    ['keep missing it where the answer names none', ['read', undefined], ['read'], ['write']],
    ['lack what was taken away', ['read write', 'read'], ['read'], ['write']],
    ['lack it after another refresh, too', ['read write', 'read', undefined], ['read'], ['write']],
    ['lack nothing once all is granted', ['read', 'read write'], ['read', 'write'], []],
    ['lack nothing where more was granted than requested', ['read write admin', 'read write'], ['read', 'write'], []],
  ])('%s', async (_, [first, ...later], grantedScopes, missing) => {
    const { connectionId } = await at.authorize(lasting(first));
    for (const scope of later) {
      at.provider.answers('/token', lasting(scope));
      expect((await at.clients.connections.refreshConnection({ connectionId })).refreshed).toBe(true);
    }
    const { connection } = await at.clients.connections.getConnection({ connectionId });
    expect(connection).toMatchObject({ grantedScopes, missingScopes: missing });
    expect(connection!.configSummary).toEqual({ scopes: grantedScopes });
  });

  it('lack what an imported credential came with', async () => {
    const integrationId = await setUp(at.clients, at.provider.definition('scripted'));
    const value = (text: string) => ({ source: { case: 'value' as const, value: text } });
    const tokens = { accessToken: value('at'), refreshToken: value('rt'), scopes: ['read', 'write'] };
    const credential = { kind: { case: 'oauth2' as const, value: tokens } };
    const { connection } = await at.clients.connections.createConnection({
      name: 'imported',
      integrationId,
      credential,
    });
    const connectionId = connection!.id;
    for (const scope of ['read', undefined]) {
      at.provider.answers('/token', lasting(scope));
      expect((await at.clients.connections.refreshConnection({ connectionId })).refreshed).toBe(true);
    }
    const after = await at.clients.connections.getConnection({ connectionId });
    expect(after.connection).toMatchObject({ grantedScopes: ['read'], missingScopes: ['write'] });
  });
});
