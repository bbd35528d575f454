import { expect, it } from 'vitest';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';

describeRpc('SecretService', ({ as, server, tenant }) => {
  it('answers the name, never the value', async () => {
    const { secrets } = await as('resource_manager');
    const { secret } = await secrets.createSecret({ name: 'stripe', value: 'sk_live_1' });
    expect(secret).toMatchObject({ name: 'stripe', projectId: '' });
    expect(secret?.id).toMatch(/^sec_[0-9a-z]{26}$/);
    const listed = await secrets.listSecrets({ withTotalSize: true });
    expect(listed.secrets.map((item) => item.name)).toEqual(['stripe']);
    expect(listed.totalSize).toBe(1);
    expect(JSON.stringify(listed.secrets.map((item) => ({ ...item, createTime: 0, updateTime: 0 })))).not.toContain(
      'sk_live_1',
    );
  });

  it('refuses a name that is taken, and keeps the first value', async () => {
    const { secrets, connections } = await as('admin');
    await secrets.createSecret({ name: 'taken', value: 'first' });
    const failure = await failureOf(secrets.createSecret({ name: 'taken', value: 'second' }));
    expect(failure).toMatchObject({ code: 'AlreadyExists', reason: 'SECRET_NAME_TAKEN', metadata: { name: 'taken' } });
    const { connection } = await connections.createConnection({
      name: 'user of it',
      credential: { kind: { case: 'bearer', value: { token: { source: { case: 'secretRef', value: 'taken' } } } } },
    });
    const { headers } = await connections.getCredentials({ connectionId: connection!.id });
    expect(headers).toMatchObject([{ name: 'Authorization', value: 'Bearer first' }]);
  });

  it('lets the same name live in another tenant and another project', async () => {
    const here = await as('admin');
    const there = await as('admin', { tenant: `${tenant()}-other` });
    await here.secrets.createSecret({ name: 'same', value: 'a' });
    await here.secrets.createSecret({ name: 'same', value: 'b', projectId: 'p1' });
    await there.secrets.createSecret({ name: 'same', value: 'c' });
    expect((await here.secrets.listSecrets({})).secrets.map((secret) => secret.projectId)).toEqual(['', 'p1']);
    expect((await here.secrets.listSecrets({ projectId: 'p1' })).secrets).toHaveLength(1);
    expect((await here.secrets.listSecrets({ projectId: '' })).secrets).toHaveLength(1);
    expect((await there.secrets.listSecrets({})).secrets).toHaveLength(1);
  });

  it('hands out a new value at once to every connection that refers to it', async () => {
    const { secrets, connections } = await as('admin');
    await secrets.createSecret({ name: 'rotating', value: 'old' });
    const { connection } = await connections.createConnection({
      name: 'c',
      credential: { kind: { case: 'apiKey', value: { key: { source: { case: 'secretRef', value: 'rotating' } } } } },
    });
    const before = await connections.getCredentials({ connectionId: connection!.id });
    expect(before.headers[0]).toMatchObject({ name: 'X-API-Key', value: 'old' });
    await secrets.updateSecret({ name: 'rotating', value: 'new' });
    const after = await connections.getCredentials({ connectionId: connection!.id });
    expect(after.headers[0]).toMatchObject({ name: 'X-API-Key', value: 'new' });
  });

  it('refuses to delete one that is in use, naming the users, unless forced; a new one of the name heals them', async () => {
    const { secrets, connections } = await as('admin');
    await secrets.createSecret({ name: 'used', value: 'v1' });
    const { connection } = await connections.createConnection({
      name: 'uses it',
      credential: {
        kind: { case: 'basic', value: { username: 'u', password: { source: { case: 'secretRef', value: 'used' } } } },
      },
    });
    const connectionId = connection!.id;
    const refused = await failureOf(secrets.deleteSecret({ name: 'used' }));
    expect(refused).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'SECRET_IN_USE',
      metadata: { connection_ids: connectionId, connection_count: '1' },
    });

    await secrets.deleteSecret({ name: 'used', force: true });
    const missing = await failureOf(connections.getCredentials({ connectionId }));
    expect(missing).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'SECRET_MISSING',
      metadata: { name: 'used', field: 'password' },
    });
    expect(await connections.getConnectionStatus({ connectionId })).toMatchObject({
      reason: 'SECRET_MISSING',
      missingSecrets: ['used'],
    });

    await secrets.createSecret({ name: 'used', value: 'v2' });
    const { credential } = await connections.getCredentials({ connectionId });
    expect(credential?.kind).toMatchObject({ case: 'basic', value: { password: { source: { value: 'v2' } } } });
  });

  it('names an unknown secret and the field that refers to it', async () => {
    const { connections, secrets } = await as('resource_manager');
    const create = connections.createConnection({
      name: 'c',
      credential: {
        kind: { case: 'custom', value: { fields: { token: { source: { case: 'secretRef', value: 'nowhere' } } } } },
      },
    });
    expect(await failureOf(create)).toMatchObject({
      reason: 'SECRET_MISSING',
      metadata: { name: 'nowhere', field: 'token' },
    });
    expect(await failureOf(secrets.updateSecret({ name: 'nowhere', value: 'x' }))).toMatchObject({
      reason: 'SECRET_NOT_FOUND',
      metadata: { name: 'nowhere' },
    });
    expect((await connections.listConnections({})).connections).toEqual([]);
  });

  it('prefers the secret of the connection’s project', async () => {
    const { connections, secrets } = await as('admin');
    await secrets.createSecret({ name: 'k', value: 'of the tenant' });
    await secrets.createSecret({ name: 'k', value: 'of the project', projectId: 'p' });
    const credential = {
      kind: { case: 'bearer' as const, value: { token: { source: { case: 'secretRef' as const, value: 'k' } } } },
    };
    const inProject = await connections.createConnection({ name: 'a', projectId: 'p', credential });
    const outside = await connections.createConnection({ name: 'b', projectId: 'q', credential });
    const tokens = await Promise.all(
      [inProject, outside].map(
        async ({ connection }) =>
          (await connections.getCredentials({ connectionId: connection!.id })).headers[0]?.value,
      ),
    );
    expect(tokens).toEqual(['Bearer of the project', 'Bearer of the tenant']);
  });

  it('pages by name', async () => {
    const { secrets } = await as('resource_manager');
    for (const name of ['d', 'a', 'c', 'b', 'e']) await secrets.createSecret({ name, value: 'v' });
    const names: string[] = [];
    for (let pageToken = ''; ; ) {
      const page = await secrets.listSecrets({ pageSize: 2, pageToken });
      names.push(...page.secrets.map((secret) => secret.name));
      pageToken = page.nextPageToken;
      if (!pageToken) break;
    }
    expect(names).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('makes one secret of a repeated request_id, and refuses another request under it', async () => {
    const { secrets } = await as('resource_manager');
    const request = { name: 'once', value: 'v', requestId: 'r-1' };
    const [first, second] = await Promise.all([secrets.createSecret(request), secrets.createSecret(request)]);
    expect(first.secret?.id).toBe(second.secret?.id);
    expect(await failureOf(secrets.createSecret({ ...request, value: 'other' }))).toMatchObject({
      code: 'AlreadyExists',
      reason: 'REQUEST_ID_REUSED',
    });
  });

  it('is for those who hold the permission', async () => {
    for (const role of ['approver', 'requestor'] as const) {
      const { secrets } = await as(role);
      const failure = await failureOf(secrets.createSecret({ name: 'x', value: 'y' }));
      expect(failure).toMatchObject({
        code: 'PermissionDenied',
        reason: 'PERMISSION_MISSING',
        metadata: { permission: 'secret:manage' },
      });
    }
  });

  it('lets nobody have a secret handed out by reference who may not use secrets', async () => {
    const { secrets } = await as('admin');
    await secrets.createSecret({ name: 'live', value: 'v' });
    const { connections } = await as('requestor');
    for (const name of ['live', 'absent']) {
      const token = { source: { case: 'secretRef' as const, value: name } };
      const create = connections.createConnection({
        name: 'c',
        credential: { kind: { case: 'bearer', value: { token } } },
      });
      expect(await failureOf(create)).toMatchObject({
        reason: 'PERMISSION_MISSING',
        metadata: { permission: 'secret:use' },
      });
    }
  });

  it('says so when what a repeated request made is gone', async () => {
    const { secrets } = await as('admin');
    const request = { name: 'gone', value: 'v', requestId: 'r' };
    await secrets.createSecret(request);
    await secrets.deleteSecret({ name: 'gone' });
    expect(await failureOf(secrets.createSecret(request))).toMatchObject({
      code: 'NotFound',
      reason: 'SECRET_NOT_FOUND',
    });
  });

  it('names each invalid field', async () => {
    const { secrets } = await as('admin');
    const failure = await failureOf(secrets.createSecret({ name: 'not a name!', value: '' }));
    expect(failure).toMatchObject({ code: 'InvalidArgument', reason: 'FIELD_INVALID' });
    expect(failure.fields).toEqual(['name', 'value']);
  });

  it('keeps the value out of log and audit', async () => {
    const { secrets, audit } = await as('admin');
    await secrets.createSecret({ name: 'quiet', value: 'canary-7f3a' });
    await secrets.updateSecret({ name: 'quiet', value: 'canary-7f3b' });
    const entries = await audit.listAuditEntries({});
    expect(entries.entries.map((entry) => entry.action)).toContain('secret_updated');
    expect(server().logLines.join('')).toContain('"value":"[redacted]"');
    expect(
      server().logLines.join('') + JSON.stringify(entries.entries.map(({ before, after }) => [before, after])),
    ).not.toMatch(/canary-7f3/);
  });
});
