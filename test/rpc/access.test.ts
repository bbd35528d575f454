import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';

describeRpc('AccessService', ({ as, server, transport, tenant, operator }) => {
  it('makes a user at first sight, as a requestor with the roles of their groups', async () => {
    const { access } = await as('resource_manager', { subject: 'mira' });
    const me = await access.getMe({});
    expect(me).toMatchObject({
      tenantId: tenant(),
      user: {
        subject: 'mira',
        email: 'mira@example.com',
        displayName: 'mira',
        mappedRoles: ['resource_manager'],
        assignedRoles: [],
        roles: ['resource_manager'],
      },
      limitedToProjects: false,
    });
    expect(me.permissions).toEqual([
      'connection:create',
      'connection:delete',
      'connection:read',
      'connection:update',
      'connection:use',
      'event:read',
      'integration:create',
      'integration:delete',
      'integration:read',
      'integration:update',
      'secret:manage',
      'secret:read',
      'secret:use',
      'webhook:manage',
      'webhook:read',
      'webhook:send',
    ]);
    expect(me.ownPermissions).toContain('credential:read');
    const again = await (await as('resource_manager', { subject: 'mira' })).access.getMe({});
    expect(again.user?.id).toBe(me.user?.id);
  });

  it('makes one user of many first calls at once', async () => {
    const tokens = await Promise.all(Array.from({ length: 8 }, () => as('requestor', { subject: 'crowd' })));
    const ids = await Promise.all(tokens.map(async ({ access }) => (await access.getMe({})).user?.id));
    expect(new Set(ids).size).toBe(1);
    const { access } = await as('admin');
    expect((await access.listUsers({})).users.filter((user) => user.subject === 'crowd')).toHaveLength(1);
  });

  it('adds assigned roles to mapped ones, at once', async () => {
    const { access: admin } = await as('admin');
    const user = await as('requestor', { subject: 'rising' });
    const { user: known } = await user.access.getMe({});
    expect((await failureOf(user.secrets.listSecrets({}))).reason).toBe('PERMISSION_MISSING');
    const { user: changed } = await admin.updateUserRoles({ userId: known!.id, roles: ['resource_manager'] });
    expect(changed).toMatchObject({
      assignedRoles: ['resource_manager'],
      mappedRoles: ['requestor'],
      roles: ['requestor', 'resource_manager'],
    });
    expect((await user.secrets.listSecrets({})).secrets).toEqual([]);
    await admin.updateUserRoles({ userId: known!.id, roles: [] });
    expect((await failureOf(user.secrets.listSecrets({}))).reason).toBe('PERMISSION_MISSING');
    expect((await failureOf(admin.updateUserRoles({ userId: known!.id, roles: ['king'] }))).fields).toEqual([
      'roles[0]',
    ]);
    expect((await failureOf(user.access.updateUserRoles({ userId: known!.id, roles: ['admin'] }))).reason).toBe(
      'PERMISSION_MISSING',
    );
    expect(
      (await failureOf(admin.updateUserRoles({ userId: 'user_00000000000000000000000000', roles: [] }))).reason,
    ).toBe('USER_NOT_FOUND');
  });

  it('lists the roles and what they permit', async () => {
    const { access } = await as('requestor');
    const { roles } = await access.listRoles({});
    expect(roles.map((role) => role.name)).toEqual(['admin', 'approver', 'requestor', 'resource_manager']);
    expect(roles[0]?.permissions).toContain('audit:read');
    expect(roles[0]?.permissions).not.toContain('tenant:manage');
    expect(roles[2]).toMatchObject({ permissions: ['integration:read'] });
  });

  it('shows a key once, lets it in with its scopes, and ends it at once', async () => {
    const { access } = await as('admin');
    const { apiKey, secret } = await access.createApiKey({
      displayName: 'service',
      scopes: ['connection:*', 'credential:read'],
    });
    expect(secret).toMatch(/^lk_[0-9a-z]{26}_[A-Za-z0-9_-]{43}$/);
    const stored = await server().database.sql('select * from latchkey.api_key where id = $1', [apiKey!.id]);
    expect(JSON.stringify(stored)).not.toContain(secret.slice(-43));
    const headers: Record<string, string>[] = [
      { authorization: `Bearer ${secret}` },
      { authorization: `bearer ${secret}` },
      { 'x-api-key': secret },
    ];
    for (const header of headers) {
      const key = server().clients(transport, header);
      expect(await key.access.getMe({})).toMatchObject({
        tenantId: tenant(),
        apiKey: { id: apiKey!.id, scopes: ['connection:*', 'credential:read'] },
      });
      expect((await failureOf(key.secrets.listSecrets({}))).metadata.permission).toBe('secret:read');
    }
    const key = server().clients(transport, { 'x-api-key': secret });
    const { connection } = await key.connections.createConnection({ name: 'c', credential: bearer('t') });
    expect((await key.connections.getCredentials({ connectionId: connection!.id })).headers).toHaveLength(1);
    const { apiKey: revoked } = await access.revokeApiKey({ apiKeyId: apiKey!.id });
    expect(revoked?.revokeTime).toBeDefined();
    expect(await failureOf(key.access.getMe({}))).toMatchObject({
      code: 'Unauthenticated',
      reason: 'CREDENTIALS_INVALID',
    });
    const again = await access.revokeApiKey({ apiKeyId: apiKey!.id });
    expect(again.apiKey?.revokeTime).toEqual(revoked?.revokeTime);
    expect((await access.listApiKeys({})).apiKeys.map((item) => item.id)).toEqual([apiKey!.id]);
    expect((await failureOf(access.revokeApiKey({ apiKeyId: 'key_0000000000000000000000000z' }))).reason).toBe(
      'API_KEY_NOT_FOUND',
    );
  });

  it('lets no key exceed its maker', async () => {
    const { access } = await as('admin');
    const { secret } = await access.createApiKey({
      displayName: 'maker',
      scopes: ['api_key:manage', 'connection:read'],
      projectIds: ['p'],
    });
    const maker = server().clients(transport, { 'x-api-key': secret });
    const within = await maker.access.createApiKey({ displayName: 'x', scopes: ['connection:read'] });
    expect(within.apiKey?.projectIds).toEqual(['p']);
    expect(await failureOf(maker.access.createApiKey({ displayName: 'x', scopes: ['secret:read'] }))).toMatchObject({
      reason: 'PERMISSION_MISSING',
      metadata: { permission: 'secret:read' },
    });
    expect((await failureOf(maker.access.createApiKey({ displayName: 'x', scopes: ['*'] }))).reason).toBe(
      'PERMISSION_MISSING',
    );
    expect(
      (await failureOf(maker.access.createApiKey({ displayName: 'x', scopes: ['connection:read'], projectIds: ['q'] })))
        .fields,
    ).toEqual(['project_ids']);
    expect((await failureOf(access.createApiKey({ displayName: 'x', scopes: ['nonsense:read'] }))).fields).toEqual([
      'scopes',
    ]);
    expect((await failureOf(access.createApiKey({ displayName: 'x', scopes: ['tenant:manage'] }))).fields).toEqual([
      'scopes',
    ]);
    expect(
      (
        await failureOf(
          access.createApiKey({ displayName: 'x', scopes: ['*'], expireTime: timestampFromDate(new Date(0)) }),
        )
      ).fields,
    ).toEqual(['expire_time']);
  });

  it('lets only an administrator make another, and a key of projects end only such', async () => {
    const { access } = await as('admin');
    const { permissions } = await access.getMe({});
    const all = await access.createApiKey({ displayName: 'all but in name', scopes: permissions });
    const nearly = server().clients(transport, { 'x-api-key': all.secret });
    expect((await failureOf(nearly.access.createApiKey({ displayName: 'x', scopes: ['*'] }))).metadata.permission).toBe(
      '*',
    );
    const limited = await access.createApiKey({ displayName: 'of p', scopes: ['*'], projectIds: ['p'] });
    const key = server().clients(transport, { 'x-api-key': limited.secret });
    expect((await failureOf(key.audit.listAuditEntries({}))).metadata.permission).toBe('audit:read');
    expect((await failureOf(key.access.revokeApiKey({ apiKeyId: all.apiKey!.id }))).reason).toBe('API_KEY_NOT_FOUND');
    expect((await key.access.revokeApiKey({ apiKeyId: limited.apiKey!.id })).apiKey?.revokeTime).toBeDefined();
  });

  it('refuses a key after its end', async () => {
    const { access } = await as('admin');
    const { secret } = await access.createApiKey({
      displayName: 'short',
      scopes: ['*'],
      expireTime: timestampFromDate(new Date(Date.now() + 700)),
    });
    const key = server().clients(transport, { 'x-api-key': secret });
    expect((await key.access.getMe({})).tenantId).toBe(tenant());
    await expect
      .poll(
        () =>
          key.access.getMe({}).then(
            () => 'in',
            () => 'out',
          ),
        { timeout: 5000 },
      )
      .toBe('out');
  });

  it('answers a repeated CreateApiKey with the key, without its text', async () => {
    const { access } = await as('admin');
    const request = { displayName: 'once', scopes: ['*'], requestId: 'k' };
    const first = await access.createApiKey(request);
    const second = await access.createApiKey(request);
    expect(second.apiKey?.id).toBe(first.apiKey?.id);
    expect(second.secret).toBe('');
  });

  it('lets the operator make tenants and keys in them, and nobody else', async () => {
    const tenantId = `${tenant()}-made`;
    const made = await operator().access.createTenant({ tenantId, displayName: 'Made', requestId: 'r' });
    expect(made.tenant).toMatchObject({ id: tenantId, displayName: 'Made' });
    expect((await operator().access.createTenant({ tenantId, displayName: 'Made', requestId: 'r' })).tenant?.id).toBe(
      tenantId,
    );
    expect(await failureOf(operator().access.createTenant({ tenantId }))).toMatchObject({
      code: 'AlreadyExists',
      reason: 'TENANT_ID_TAKEN',
    });
    const { secret } = await operator().access.createApiKey({ displayName: 'first', scopes: ['*'], tenantId });
    const inside = server().clients(transport, { 'x-api-key': secret });
    expect((await inside.access.getMe({})).tenantId).toBe(tenantId);
    expect((await failureOf(inside.access.listTenants({}))).reason).toBe('PERMISSION_MISSING');
    expect((await failureOf(inside.access.createTenant({ tenantId: 'x' }))).reason).toBe('PERMISSION_MISSING');
    expect(
      (await failureOf(inside.access.createApiKey({ displayName: 'x', scopes: ['*'], tenantId: tenant() }))).reason,
    ).toBe('TENANT_NOT_FOUND');
    expect(
      (await failureOf(operator().access.createApiKey({ displayName: 'x', scopes: ['*'], tenantId: 'absent' }))).reason,
    ).toBe('TENANT_NOT_FOUND');
    const listed: string[] = [];
    for (let pageToken = ''; ; ) {
      const page = await operator().access.listTenants({ pageSize: 2, pageToken, withTotalSize: true });
      listed.push(...page.tenants.map((item) => item.id));
      pageToken = page.nextPageToken;
      if (!pageToken) {
        expect(page.totalSize).toBe(listed.length);
        break;
      }
    }
    expect(listed).toContain(tenantId);
    expect(listed).toEqual([...listed].sort());
  });
});

describeRpc('Tokens', ({ server, transport, tenant }) => {
  const me = async (token: string) =>
    server()
      .clients(transport, { authorization: `Bearer ${token}` })
      .access.getMe({});

  it('are taken with RS256 and ES256', async () => {
    for (const alg of ['RS256', 'ES256']) {
      const token = await server().issuer.token({ tenant_id: tenant(), sub: alg }, { alg });
      expect((await me(token)).user?.subject).toBe(alg);
    }
  });

  it('are refused where anything is wrong with them', async () => {
    const { issuer } = server();
    const now = Math.floor(Date.now() / 1000);
    const good = { tenant_id: tenant() };
    const tokens = {
      'wrong audience': await issuer.token({ ...good, aud: 'another' }),
      'no audience': await issuer.token({ ...good, aud: undefined as unknown as string }),
      'wrong issuer': await issuer.token({ ...good, iss: 'https://evil.example' }),
      expired: await issuer.token({ ...good, exp: now - 61 }),
      'no exp': await issuer.token({ ...good, exp: undefined as unknown as number }),
      'not yet valid': await issuer.token({ ...good, nbf: now + 61 }),
      'no subject': await issuer.token({ ...good, sub: undefined as unknown as string }),
      'no tenant': await issuer.token({}),
      'bad tenant': await issuer.token({ tenant_id: '../x' }),
      'wrong type': await issuer.token(good, { header: { typ: 'logout+jwt' } }),
      'unknown key': await issuer.token(good, { header: { kid: 'nobody-knows' } }),
      unsigned: `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(good)).toString('base64url')}.`,
      'no token': 'nonsense',
      'wrong key': 'lk_01m80tpmh6pfc7tz8t21mvjgrz_tTgwpOgqUlDkCPIf399I02aEwihuLkLVQgTWBlfjG0U',
    };
    for (const [what, token] of Object.entries(tokens)) {
      expect(await failureOf(me(token)), what).toMatchObject({
        code: 'Unauthenticated',
        reason: 'CREDENTIALS_INVALID',
      });
    }
    expect(await failureOf(server().clients(transport).access.getMe({}))).toMatchObject({
      code: 'Unauthenticated',
      reason: 'CREDENTIALS_MISSING',
    });
    const basic = server().clients(transport, { authorization: 'Basic dTpw' });
    expect((await failureOf(basic.access.getMe({}))).reason).toBe('CREDENTIALS_INVALID');
    const acting = server().clients(transport, {
      authorization: `Bearer ${await issuer.token(good)}`,
      'latchkey-user': 'x',
    });
    expect((await failureOf(acting.access.getMe({}))).metadata.permission).toBe('user:act_as');
  });
});
