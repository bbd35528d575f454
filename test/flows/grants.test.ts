import { describe, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { authorizeAt, credentialOf, setUp } from '../harness/authorizations.ts';
import { Granting, granted, SLACK } from '../harness/granting.ts';

const at = new Granting();

describe('A refresh token', () => {
  it.each([
    ['is stored', granted(), true],
    ['may be missing', granted({ refresh_token: undefined }), false],
    ['is none where it is empty', granted({ refresh_token: '' }), false],
    ['is none where it is null', granted({ refresh_token: null }), false],
  ])('%s', async (_, answer, refreshable) => {
    const { connectionId } = await at.authorize(answer);
    expect((await credentialOf(at.clients, connectionId)).accessToken).toBe('at');
    expect((await at.storedOf(connectionId))?.fields.refreshable).toBe(refreshable);
  });

  it('is never handed out, and neither is that of a further token', async () => {
    const answer = granted({ refresh_token: 'rt-main', user: { token: 'at-user', refresh: 'rt-user' } });
    const subCredentials = [{ name: 'user', accessToken: '/user/token', refreshToken: '/user/refresh' }];
    const { connectionId, page } = await at.authorize(answer, { subCredentials });
    const answers = [
      page.text,
      await at.clients.connections.getCredentials({ connectionId }),
      await at.clients.connections.getConnection({ connectionId }),
      await at.clients.connections.getConnectionStatus({ connectionId }),
      await at.clients.audit.listAuditEntries({}),
    ].map((part) => JSON.stringify(part, (__, value) => (typeof value === 'bigint' ? String(value) : value)));
    expect(answers[1]).toContain('at-user');
    expect(answers.join()).not.toMatch(/rt-main|rt-user/);
    expect(at.server.logLines.join()).not.toMatch(/rt-main|rt-user|at-user/);
  });
});

describe('The scopes of an answer', () => {
  it.each([
    ['are those requested where it names none', undefined, ['read', 'write'], []],
    ['may be fewer', 'read', ['read'], ['write']],
    ['may be more', 'read write admin', ['read', 'write', 'admin'], []],
    ['may stand between commas', 'read,write', ['read', 'write'], []],
    ['may be a list', ['read', 'write', 7], ['read', 'write'], []],
    ['may be none at all', '', [], ['read', 'write']],
    ['may be said twice', 'read read write', ['read', 'write'], []],
  ])('%s', async (_, scope, grantedScopes, missing) => {
    const { connection, connectionId, authorization } = await at.authorize(granted({ scope }));
    expect(connection).toMatchObject({ grantedScopes, missingScopes: missing });
    expect(authorization.missingScopes).toEqual(missing);
    expect((await credentialOf(at.clients, connectionId)).scopes).toEqual(grantedScopes);
  });
});

describe('The life of a token', () => {
  const TEN_YEARS_S = 315_360_000;
  it.each<[string, unknown, number | null]>([
    ['a number', 600, 600],
    ['its text', '600', 600],
    ['a fraction', 600.9, 600],
    ['missing', undefined, null],
    ['null', null, null],
    ['words', 'soon', null],
    ['NaN', 'NaN', null],
    ['an empty text', '', null],
    ['true', true, null],
    ['more than ten years', 1e20, TEN_YEARS_S],
    ['infinite', 'Infinity', TEN_YEARS_S],
  ])('is as the answer says: %s', async (_, expires_in, lifeS) => {
    const { connectionId } = await at.authorize(granted({ expires_in }));
    const { expireTime } = await credentialOf(at.clients, connectionId);
    const leftS = expireTime ? Number(expireTime.seconds) - Date.now() / 1000 : null;
    if (lifeS === null) expect(leftS).toBeNull();
    else expect(Math.abs(leftS! - lifeS)).toBeLessThan(10);
  });

  it.each([0, -5, '0'])('is over at once where the answer says %s', async (expires_in) => {
    const { connectionId, connection } = await at.authorize(granted({ expires_in }));
    expect(Math.abs(Number(connection.expireTime!.seconds) - Date.now() / 1000)).toBeLessThan(10);
    const hits = at.provider.count('/token');
    for (let turn = 0; turn < 5; turn++)
      await expect(at.clients.connections.getCredentials({ connectionId })).rejects.toThrow(
        'the provider does not answer',
      );
    expect(at.provider.count('/token')).toBe(hits + 1);
  });

  it('is the provider’s usual one where the answer does not say', async () => {
    const lifetimes = { accessTokenS: 1200 };
    const { connectionId } = await at.authorize(granted({ expires_in: 'x' }), { lifetimes });
    const leftS = Number((await credentialOf(at.clients, connectionId)).expireTime!.seconds) - Date.now() / 1000;
    expect(Math.abs(leftS - 1200)).toBeLessThan(10);
  });
});

describe('A further answer', () => {
  it('needs no token type', async () => {
    for (const token_type of [undefined, null, '']) {
      await at.enterNewTenant();
      const { connectionId } = await at.authorize(granted({ token_type }));
      expect((await credentialOf(at.clients, connectionId)).headers[0]).toMatchObject({
        name: 'Authorization',
        value: 'Bearer at',
      });
    }
  });

  it('may be a form', async () => {
    const { connectionId } = await at.authorize({ body: 'access_token=at&scope=read%2Cwrite&token_type=bearer' });
    expect(await credentialOf(at.clients, connectionId)).toMatchObject({
      accessToken: 'at',
      scopes: ['read', 'write'],
    });
  });

  it('may have its parts elsewhere', async () => {
    const answer = { accessToken: '/data/token', expiresIn: '/data/ttl', scope: '/data/scopes' };
    const { connectionId } = await at.authorize(
      { body: { data: { token: 'deep', ttl: 60, scopes: ['read'] } } },
      { answer },
    );
    const credential = await credentialOf(at.clients, connectionId);
    expect(credential).toMatchObject({ accessToken: 'deep', scopes: ['read'] });
    expect(Math.abs(Number(credential.expireTime!.seconds) - Date.now() / 1000 - 60)).toBeLessThan(10);
  });

  it('may carry a further token, as Slack’s user token', async () => {
    const user = { access_token: 'xoxp', token_type: 'user', scope: 'search:read' };
    const answer = granted({ access_token: 'xoxb', token_type: 'bot', ok: true, authed_user: user });
    const { connectionId } = await at.authorize(answer, {
      ...SLACK,
      answer: { bearerTypes: ['bot', 'user'] },
      subCredentials: [{ name: 'user', accessToken: '/authed_user/access_token', scope: '/authed_user/scope' }],
    });
    const { accessToken, furtherTokens } = await credentialOf(at.clients, connectionId);
    expect(accessToken).toBe('xoxb');
    expect(furtherTokens.user?.source.value).toBe('xoxp');
  });

  it('has the scopes of a further token, which are asked for apart', async () => {
    const further = { name: 'user', accessToken: '/user/access_token', scope: '/user/scope' };
    const subCredentials = [{ ...further, scopeParameter: 'user_scope', scopePrefix: 'user:' }];
    const integrationId = await setUp(at.clients, at.provider.definition('scripted', { subCredentials }), {
      scopes: ['read', 'user:search:read', 'user:write'],
    });
    at.provider.answers('/token', granted({ scope: 'read', user: { access_token: 'second', scope: 'search:read' } }));
    const { connection } = await authorizeAt(at.clients, integrationId);
    expect(at.provider.authorized.get('scope')).toBe('read');
    expect(at.provider.authorized.get('user_scope')).toBe('search:read write');
    expect(connection).toMatchObject({ grantedScopes: ['read', 'user:search:read'], missingScopes: ['user:write'] });
  });

  it('may carry the further token alone, which is then the main one', async () => {
    const subCredentials = [{ name: 'user', accessToken: '/authed_user/access_token' }];
    const answer = { body: { ok: true, authed_user: { access_token: 'xoxp' } } };
    const { connectionId } = await at.authorize(answer, { subCredentials });
    const { accessToken, furtherTokens } = await credentialOf(at.clients, connectionId);
    expect(accessToken).toBe('xoxp');
    expect(furtherTokens).toEqual({});
  });
});

describe('What is kept of an answer', () => {
  it('is what the definition names, of the callback and of the answer', async () => {
    at.provider.callbackParameters = { realmId: '9130357', other: 'x' };
    const { connection } = await at.authorize(granted({ team: { id: 'T1', secret: 's' } }), {
      answer: { kept: { team_id: '/team/id', absent: '/team/none', whole: '/team' } },
      keptCallbackParameters: ['realmId'],
      identity: { from: 'callback', accountId: ['/realmId'] },
    });
    expect(connection.providerAccountMetadata).toEqual({ realmId: '9130357', team_id: 'T1' });
    expect(connection.providerAccountId).toBe('9130357');
  });

  it('is storable, whatever comes', async () => {
    at.provider.callbackParameters = { realmId: 'a\0b' };
    at.provider.answers('/me', { body: '{"sub":"a\\u0000da","email":"a\\ud800@example.com","note":"\\udc00"}' });
    const answer = granted({ scope: 'read \0 write', team: `${'x'.repeat(999)}😀` });
    const { connection, authorization } = await at.authorize(answer, {
      answer: { kept: { team: '/team' } },
      keptCallbackParameters: ['realmId'],
      identity: { url: `${at.provider.url}/me`, accountId: ['/sub'], email: ['/email'], kept: { note: '/note' } },
    });
    expect(authorization).toMatchObject({ status: AuthorizationStatus.SUCCEEDED, reason: '' });
    expect(connection.providerAccountMetadata).toMatchObject({ realmId: 'a\ufffdb', note: '\ufffd' });
    expect(String(connection.providerAccountMetadata!.team)).toMatch(/^x{999}\ufffd$/);
    expect(connection.providerAccountId).toBe('a\ufffdda');
  });

  const answer = { kept: { instance_url: '/instance_url' }, baseUrlFrom: 'instance_url' };

  it('may be the base of the API’s URLs', async () => {
    const { connection } = await at.authorize(granted({ instance_url: 'https://eu1.example.com/v1' }), { answer });
    expect(connection.baseUrl).toBe('https://eu1.example.com/v1');
  });

  it.each([
    'javascript:alert(1)',
    'https://user:password@evil.example',
    'https://user@evil.example',
    'https://evil.example\\@x',
    'https://[',
    'https://',
    'ftp://evil.example',
    '//evil.example',
    'https://evil example',
    'https://evil.example/?x=1',
    'https://evil.example/#x',
    ' https://evil.example',
    `https://evil.example/${'x'.repeat(600)}`,
    7,
    { url: 'https://evil.example' },
  ])('is no base of URLs where it is %s', async (instance_url) => {
    const { connection } = await at.authorize(granted({ instance_url }), { answer });
    expect(connection.baseUrl).toBe(`${at.provider.url}/api`);
  });
});
