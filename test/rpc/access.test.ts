import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import { TenantState } from '../../gen/latchkey/v1/tenant_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import type { Clients, Role } from '../harness/server.ts';

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

describeRpc('Roles', ({ as, server, transport, tenant, operator }) => {
  const NOBODY = 'user_00000000000000000000000000';
  const idOf = async ({ access }: Clients) => (await access.getMe({})).user!.id;
  const outcome = (call: Promise<unknown>) =>
    call.then(
      () => 'done',
      async (error) => (await failureOf(Promise.reject(error))).reason,
    );

  /** A tenant whose only key, of nobody in particular, may do everything. */
  async function keyed(): Promise<Clients> {
    await operator().access.createTenant({ tenantId: tenant() });
    const { secret } = await operator().access.createApiKey({ displayName: 'k', scopes: ['*'], tenantId: tenant() });
    return server().clients(transport, { 'x-api-key': secret });
  }

  it('permit what the table in the README says', async () => {
    const admin = await as('admin');
    const { connection } = await admin.connections.createConnection({ name: 'shared', credential: bearer('t') });
    const connectionId = connection!.id;
    const table: [string, (clients: Clients, role: Role) => Promise<unknown>, Role[]][] = [
      ['read users', ({ access }) => access.listUsers({}), ['admin']],
      ['read a user', ({ access }) => access.getUser({ userId: NOBODY }), ['admin']],
      ['change roles', ({ access }) => access.updateUserRoles({ userId: NOBODY }), ['admin']],
      ['delete users', ({ access }) => access.deleteUser({ userId: NOBODY }), ['admin']],
      ['read the audit log', ({ audit }) => audit.listAuditEntries({}), ['admin']],
      [
        'make keys',
        ({ access }, role) => access.createApiKey({ displayName: role, scopes: ['event:read'] }),
        ['admin'],
      ],
      ['read credentials', ({ connections }) => connections.getCredentials({ connectionId }), ['admin']],
      ['delete tenants', ({ access }) => access.deleteTenant({ tenantId: 'x', confirmTenantId: 'x' }), []],
      [
        'make shared connections',
        ({ connections }, role) => connections.createConnection({ name: role, credential: bearer('t') }),
        // Of others it is their own.
        ['admin', 'resource_manager', 'requestor', 'approver'],
      ],
      [
        'change shared connections',
        ({ connections }) => connections.updateConnection({ connectionId, displayName: 'x' }),
        ['admin', 'resource_manager'],
      ],
      [
        'use shared connections',
        ({ connections }) => connections.testConnection({ connectionId }),
        ['admin', 'resource_manager'],
      ],
      [
        'read shared connections',
        ({ connections }) => connections.getConnection({ connectionId }),
        ['admin', 'resource_manager', 'approver', 'requestor'],
      ],
      [
        'make secrets',
        ({ secrets }, role) => secrets.createSecret({ name: role, value: 'v' }),
        ['admin', 'resource_manager'],
      ],
      ['read events', ({ events }) => events.listEvents({}), ['admin', 'resource_manager']],
      [
        'make integrations',
        ({ integrations }) => integrations.createIntegration({ provider: 'github' }),
        ['admin', 'resource_manager'],
      ],
      [
        'read integrations',
        ({ integrations }) => integrations.listIntegrations({}),
        ['admin', 'resource_manager', 'approver', 'requestor'],
      ],
    ];
    for (const role of ['admin', 'resource_manager', 'approver', 'requestor'] as const) {
      const clients = await as(role);
      for (const [what, call, roles] of table) {
        const refused = (await outcome(call(clients, role))) === 'PERMISSION_MISSING';
        expect(refused, `${role}: ${what}`).toBe(!roles.includes(role));
      }
      const { connections } = await clients.connections.listConnections({ pageSize: 100 });
      const own = connections.filter(({ name }) => name === role);
      const mayRead = role !== 'resource_manager';
      for (const { id } of own)
        expect(await outcome(clients.connections.getCredentials({ connectionId: id })), role).toBe(
          mayRead ? 'done' : 'PERMISSION_MISSING',
        );
      expect(own, role).toHaveLength(1);
    }
  });

  it('are changed by who has read what they change', async () => {
    const { access } = await as('admin');
    const userId = await idOf(await as('requestor', { subject: 'someone' }));
    const { user } = await access.getUser({ userId });
    expect(user).toMatchObject({ id: userId, subject: 'someone', roles: ['requestor'] });
    expect((await failureOf(access.getUser({ userId: NOBODY }))).reason).toBe('USER_NOT_FOUND');
    const { user: changed } = await access.updateUserRoles({ userId, roles: ['approver'], etag: user!.etag });
    expect(changed!.etag).not.toBe(user!.etag);
    for (const late of [
      () => access.updateUserRoles({ userId, roles: [], etag: user!.etag }),
      () => access.deleteUser({ userId, etag: user!.etag }),
    ])
      expect(await failureOf(late())).toMatchObject({
        code: 'Aborted',
        reason: 'ETAG_MISMATCH',
        metadata: { etag: changed!.etag },
      });
    expect((await access.getUser({ userId })).user!.assignedRoles).toEqual(['approver']);
  });

  it('who are deleted leave no key, nor one that their keys have made, however many they make meanwhile', async () => {
    const { access } = await as('admin');
    const bob = await as('admin', { subject: 'bob' });
    const userId = await idOf(bob);
    const scopes = ['api_key:manage', 'audit:read'];
    const first = await bob.access.createApiKey({ displayName: 'first', scopes });
    const by = server().clients(transport, { 'x-api-key': first.secret });
    const second = await by.access.createApiKey({ displayName: 'second', scopes });
    expect(second.apiKey!.creatorUserId).toBe(userId);
    const making = Array.from({ length: 20 }, (_, n) =>
      bob.access.createApiKey({ displayName: `late ${n}`, scopes }).catch(() => null),
    );
    await access.deleteUser({ userId });
    const made = (await Promise.all(making)).filter((answer) => answer !== null);
    for (const { secret } of [first, second, ...made]) {
      const { audit } = server().clients(transport, { 'x-api-key': secret });
      expect(await failureOf(audit.listAuditEntries({}))).toMatchObject({ reason: 'CREDENTIALS_INVALID' });
    }
  });

  it('leave the last administrator in place, whom keys do not replace', async () => {
    const key = await keyed();
    const [ada, bob] = [await as('requestor', { subject: 'ada' }), await as('requestor', { subject: 'bob' })];
    const [adaId, bobId] = [await idOf(ada), await idOf(bob)];
    // A tenant that has none is left alone.
    await key.access.updateUserRoles({ userId: adaId, roles: [] });
    await key.access.updateUserRoles({ userId: adaId, roles: ['admin'] });
    for (const last of [
      () => key.access.updateUserRoles({ userId: adaId, roles: ['resource_manager'] }),
      () => ada.access.updateUserRoles({ userId: adaId, roles: [] }),
      () => key.access.deleteUser({ userId: adaId }),
    ])
      expect(await failureOf(last())).toMatchObject({
        code: 'FailedPrecondition',
        reason: 'LAST_ADMINISTRATOR',
        metadata: { user_id: adaId },
      });
    expect((await ada.access.getMe({})).user!.roles).toContain('admin');
    await ada.access.updateUserRoles({ userId: bobId, roles: ['admin', 'approver'] });
    await bob.access.deleteUser({ userId: adaId });
    expect((await failureOf(bob.access.updateUserRoles({ userId: bobId, roles: [] }))).reason).toBe(
      'LAST_ADMINISTRATOR',
    );
    // One by their groups is one, too.
    await (await as('admin', { subject: 'by group' })).access.getMe({});
    await bob.access.updateUserRoles({ userId: bobId, roles: [] });
    expect((await failureOf(bob.access.listUsers({}))).reason).toBe('PERMISSION_MISSING');
  });

  it('are taken by one of two administrators from the other, never by both', async () => {
    const key = await keyed();
    for (let round = 0; round < 5; round++) {
      const both = [await as('requestor', { subject: `a${round}` }), await as('requestor', { subject: `b${round}` })];
      const ids = await Promise.all(both.map(idOf));
      for (const userId of ids) await key.access.updateUserRoles({ userId, roles: ['admin'] });
      const { users } = await key.access.listUsers({ pageSize: 100 });
      for (const { id, roles } of users)
        if (!ids.includes(id) && roles.includes('admin')) await key.access.updateUserRoles({ userId: id, roles: [] });
      const outcomes = await Promise.all([
        outcome(both[0]!.access.updateUserRoles({ userId: ids[1]!, roles: [] })),
        outcome(
          round % 2
            ? both[1]!.access.deleteUser({ userId: ids[0]! })
            : both[1]!.access.updateUserRoles({ userId: ids[0]!, roles: [] }),
        ),
      ]);
      expect(
        outcomes.filter((one) => one === 'done'),
        outcomes.join(),
      ).toHaveLength(1);
      const left = (await key.access.listUsers({ pageSize: 100 })).users.filter(({ roles }) => roles.includes('admin'));
      expect(left).toHaveLength(1);
    }
  });

  it('end with their user, who may come again as somebody new', async () => {
    const { access: admin } = await as('admin');
    const leaver = await as('admin', { subject: 'leaver' });
    const userId = await idOf(leaver);
    const made = await leaver.access.createApiKey({ displayName: 'k', scopes: ['connection:read'] });
    const kept = await admin.createApiKey({ displayName: 'k', scopes: ['*'] });
    expect(made.apiKey!.creatorUserId).toBe(userId);
    const acting = server().clients(transport, { 'x-api-key': kept.secret, 'latchkey-user': 'leaver' });
    expect((await acting.access.getMe({})).user!.id).toBe(userId);
    expect((await admin.deleteUser({ userId })).revokedApiKeyIds).toEqual([made.apiKey!.id]);
    expect((await failureOf(acting.access.getMe({}))).reason).toBe('USER_NOT_FOUND');
    const key = server().clients(transport, { 'x-api-key': made.secret });
    expect((await failureOf(key.access.getMe({}))).reason).toBe('CREDENTIALS_INVALID');
    for (const gone of [
      () => admin.getUser({ userId }),
      () => admin.deleteUser({ userId }),
      () => admin.updateUserRoles({ userId, roles: [] }),
    ])
      expect((await failureOf(gone())).reason).toBe('USER_NOT_FOUND');
    expect((await admin.listUsers({})).users.map(({ id }) => id)).not.toContain(userId);
    const again = await leaver.access.getMe({});
    expect(again.user).toMatchObject({ subject: 'leaver', assignedRoles: [] });
    expect(again.user!.id).not.toBe(userId);
    const second = await leaver.access.createApiKey({ displayName: 'k2', scopes: ['connection:read'] });
    expect((await admin.deleteUser({ userId: again.user!.id, keepApiKeys: true })).revokedApiKeyIds).toEqual([]);
    await server().clients(transport, { 'x-api-key': second.secret }).access.getMe({});
  });
});

describeRpc('DeleteTenant', ({ as, server, transport, tenant, operator }) => {
  const remove = (tenantId: string, immediately = false) =>
    operator().access.deleteTenant({ tenantId, confirmTenantId: tenantId, immediately });

  it('takes the operator, who says twice what is meant, and another tenant than their own', async () => {
    const admin = await as('admin');
    const { secret } = await admin.access.createApiKey({ displayName: 'k', scopes: ['*'] });
    const request = { tenantId: tenant(), confirmTenantId: tenant() };
    for (const { access } of [admin, server().clients(transport, { 'x-api-key': secret })])
      expect((await failureOf(access.deleteTenant(request))).metadata.permission).toBe('tenant:manage');
    const { access } = operator();
    for (const confirmTenantId of ['', 'other', `${tenant()} `])
      expect((await failureOf(access.deleteTenant({ tenantId: tenant(), confirmTenantId }))).fields).toEqual([
        'confirm_tenant_id',
      ]);
    expect((await failureOf(remove('absent'))).reason).toBe('TENANT_NOT_FOUND');
    expect(await failureOf(remove('default'))).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'TENANT_IS_OPERATORS',
    });
    expect((await admin.access.getMe({})).tenantId).toBe(tenant());
  });

  it('lets nobody in from then on, not even to make the tenant anew', async () => {
    const admin = await as('admin');
    const { secret } = await admin.access.createApiKey({ displayName: 'k', scopes: ['*'] });
    const key = server().clients(transport, { 'x-api-key': secret });
    await key.access.getMe({});
    const { tenant: deleted } = await remove(tenant());
    expect(deleted).toMatchObject({ id: tenant(), state: TenantState.DELETING });
    const hours = Number(deleted!.eraseTime!.seconds - deleted!.deleteTime!.seconds) / 3600;
    expect(hours).toBe(24);
    expect((await failureOf(key.access.getMe({}))).reason).toBe('CREDENTIALS_INVALID');
    for (const { access } of [admin, await as('requestor', { subject: 'new' })])
      expect(await failureOf(access.getMe({}))).toMatchObject({
        code: 'PermissionDenied',
        reason: 'TENANT_DELETED',
        metadata: { tenant_id: tenant() },
      });
    for (const call of [
      () => operator().access.createTenant({ tenantId: tenant() }),
      () => operator().access.createApiKey({ displayName: 'x', scopes: ['*'], tenantId: tenant() }),
    ])
      expect((await failureOf(call())).reason).toBe('TENANT_DELETED');
  });

  it('destroys the keys before it answers, where that is asked for, also later on', async () => {
    const { secrets } = await as('admin');
    await secrets.createSecret({ name: 's', value: 'v' });
    const keys = () => server().database.sql('select from latchkey.data_key where tenant_id = $1', [tenant()]);
    expect(await keys()).toHaveLength(1);
    const { tenant: erasing } = await remove(tenant(), true);
    expect(erasing!.state).toBe(TenantState.ERASING);
    expect(await keys()).toEqual([]);
    const listed = await operator().access.listTenants({ pageSize: 100 });
    expect(listed.tenants.find(({ id }) => id === tenant())?.state).toBe(TenantState.ERASING);
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
