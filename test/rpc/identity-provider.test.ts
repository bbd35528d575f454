import { exportSPKI, generateKeyPair, importJWK, SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { failureOf } from '../harness/errors.ts';
import { AUDIENCE } from '../harness/issuer.ts';
import { listenHttp } from '../harness/listener.ts';
import { TestServer } from '../harness/server.ts';

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start({ env: { OIDC_PROJECTS_CLAIM: 'projects', OIDC_USERINFO_GROUPS: 'true' } });
});
afterEach(() => server.stop());

const me = (token: string) => server.clients('grpc', { authorization: `Bearer ${token}` }).access.getMe({});

describe('The identity provider', () => {
  it('is asked for its keys once in 30 s, however many unknown keys are named', async () => {
    const { issuer } = server;
    const tokens = await Promise.all(
      Array.from({ length: 500 }, (_, i) => issuer.token({ tenant_id: 't' }, { header: { kid: `unknown-${i}` } })),
    );
    const reasons = await Promise.all(tokens.map(async (token) => (await failureOf(me(token))).reason));
    expect(new Set(reasons)).toEqual(new Set(['CREDENTIALS_INVALID']));
    expect(issuer.count('/jwks')).toBe(1);
    expect(issuer.count('/.well-known/openid-configuration')).toBe(1);
  });

  it('may be away: the last good keys serve', async () => {
    const { issuer } = server;
    await me(await issuer.token({ tenant_id: 't', sub: 'before' }));
    issuer.down = true;
    expect((await me(await issuer.token({ tenant_id: 't', sub: 'after', groups: [] }))).user?.subject).toBe('after');
    const unknown = await failureOf(me(await issuer.token({ tenant_id: 't', groups: [] }, { header: { kid: 'x' } })));
    expect(unknown.reason).toBe('CREDENTIALS_INVALID');
  });

  it('is waited for when it was never reached', async () => {
    const { issuer } = server;
    issuer.down = true;
    const failure = await failureOf(me(await issuer.token({ tenant_id: 't' })));
    expect(failure).toMatchObject({ code: 'Unavailable', reason: 'IDENTITY_PROVIDER_UNAVAILABLE' });
    expect(failure.retryAfterMs).toBeGreaterThan(0);
    issuer.down = false;
    await expect
      .poll(
        async () =>
          me(await issuer.token({ tenant_id: 't' })).then(
            (answer) => answer.tenantId,
            () => '',
          ),
        { timeout: 10_000 },
      )
      .toBe('t');
  });

  it('is asked for groups by userinfo, once a token, where the token has none', async () => {
    const { issuer } = server;
    issuer.userinfo = { sub: 'somebody', groups: ['managers'] };
    const token = await issuer.token({ tenant_id: 't' });
    for (let i = 0; i < 3; i++) expect((await me(token)).user?.roles).toEqual(['resource_manager']);
    expect(issuer.count('/userinfo')).toBe(1);
    await me(await issuer.token({ tenant_id: 't', groups: ['admins'] }));
    expect(issuer.count('/userinfo')).toBe(1);
  });

  it('limits users to the projects of its claim', async () => {
    const { issuer } = server;
    const limited = await me(await issuer.token({ tenant_id: 't', groups: [], projects: ['p', 'q'] }));
    expect(limited).toMatchObject({ limitedToProjects: true, projectIds: ['p', 'q'] });
    const none = await me(await issuer.token({ tenant_id: 't', groups: [], sub: 'no projects' }));
    expect(none).toMatchObject({ limitedToProjects: true, projectIds: [] });
  });

  it('is not believed for keys that the token brings, and its public key is no secret to sign with', async () => {
    const { issuer } = server;
    const own = await generateKeyPair('RS256', { extractable: true });
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer.url, aud: AUDIENCE, sub: 'x', tenant_id: 't', iat: now, exp: now + 600 };
    const signed = (header: object) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'RS256', ...header }).sign(own.privateKey);
    const publicKey = (await importJWK(issuer.publicJwk(), 'RS256')) as Parameters<typeof exportSPKI>[0];
    const pem = new TextEncoder().encode(await exportSPKI(publicKey));
    const tokens = {
      jwk: await signed({ jwk: { kty: 'RSA', e: 'AQAB', n: 'AA' }, kid: 'x' }),
      jku: await signed({ jku: `${issuer.url}/evil-jwks`, kid: 'x' }),
      x5u: await signed({ x5u: `${issuer.url}/evil-x5u`, kid: 'x' }),
      hs256: await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: issuer.publicJwk().kid! }).sign(pem),
      crit: await new SignJWT(claims)
        .setProtectedHeader({ alg: 'RS256', crit: ['exp2'], exp2: 1, kid: 'x' } as never)
        .sign(own.privateKey, { crit: { exp2: true } } as never),
    };
    for (const [what, token] of Object.entries(tokens))
      expect((await failureOf(me(token))).reason, what).toBe('CREDENTIALS_INVALID');
    expect([...issuer.requests.keys()].filter((path) => path.includes('evil'))).toEqual([]);
  });

  it('may be on a private address, where it leads to no other', async () => {
    await using other = await listenHttp((_, response) => void response.end('{"keys":[]}'), '0.0.0.0');
    const closed = await TestServer.start({ env: { EGRESS_ALLOW: 'nobody.invalid' } });
    const authorization = `Bearer ${await closed.issuer.token({ tenant_id: 't' })}`;
    try {
      closed.issuer.discovery = { jwks_uri: `http://127.0.0.2:${other.port}/jwks` };
      const failure = await failureOf(closed.clients('grpc', { authorization }).access.getMe({}));
      expect(failure).toMatchObject({ code: 'Unavailable', reason: 'IDENTITY_PROVIDER_UNAVAILABLE' });
      expect(closed.issuer.count('/.well-known/openid-configuration')).toBe(1);
      expect(other.connections).toBe(0);
    } finally {
      await closed.stop();
    }
  });
});
