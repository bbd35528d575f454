import { Client } from 'pg';
import { expect, it } from 'vitest';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import type { Clients } from '../harness/server.ts';

const custom = (name: string) => ({
  name,
  displayName: 'Our own',
  documentationUrl: 'https://docs.example.com',
  oauth: {
    authorizationUrl: 'https://login.example.com/authorize',
    tokenUrl: 'https://login.example.com/token',
    scopes: { defaultScopes: ['read'] },
  },
});

describeRpc('IntegrationService, providers', ({ as, server, transport, tenant }) => {
  it('lists the built-in ones to anybody', async () => {
    const { integrations } = server().clients(transport);
    const { providers } = await integrations.listProviders({ pageSize: 100 });
    const names = providers.map(({ definition }) => definition?.name);
    expect(names).toEqual([...names].sort());
    expect(names).toEqual(expect.arrayContaining(['google', 'slack', 'microsoft', 'quickbooks', 'smtp', 'aws-s3']));
    expect(providers.find(({ definition }) => definition?.name === 'slack')).toMatchObject({
      custom: false,
      atRisk: true,
      kinds: ['oauth2', 'bearer'],
    });
    const { provider } = await integrations.getProvider({ name: 'google' });
    expect(provider?.definition?.oauth?.authorizationParameters).toMatchObject({ access_type: 'offline' });
    const keys = await integrations.listProviders({ kind: 'smtp' });
    expect(keys.providers.map(({ definition }) => definition?.name)).toEqual(['smtp']);
    expect(await failureOf(integrations.getProvider({ name: 'nobody' }))).toMatchObject({
      reason: 'PROVIDER_NOT_FOUND',
      metadata: { provider: 'nobody' },
    });
  });

  it('checks a credential that is presented where none is needed', async () => {
    const { integrations } = server().clients(transport, { authorization: 'Bearer wrong' });
    expect((await failureOf(integrations.listProviders({}))).reason).toBe('CREDENTIALS_INVALID');
  });

  it('keeps those of a tenant to the tenant', async () => {
    const { integrations } = await as('admin');
    const { provider } = await integrations.createProvider({ definition: custom('ours') });
    expect(provider).toMatchObject({ custom: true, etag: 'v1', definition: { name: 'ours', displayName: 'Our own' } });
    expect((await failureOf(integrations.createProvider({ definition: custom('ours') }))).reason).toBe(
      'PROVIDER_NAME_TAKEN',
    );
    expect((await failureOf(integrations.createProvider({ definition: custom('slack') }))).reason).toBe(
      'PROVIDER_NAME_TAKEN',
    );
    const there = await as('admin', { tenant: `${tenant()}-other` });
    expect((await failureOf(there.integrations.getProvider({ name: 'ours' }))).reason).toBe('PROVIDER_NOT_FOUND');
    const anybody = server().clients(transport).integrations;
    expect((await failureOf(anybody.getProvider({ name: 'ours' }))).reason).toBe('PROVIDER_NOT_FOUND');
    const changed = { ...custom('ours'), displayName: 'Renamed' };
    const updated = await integrations.updateProvider({ definition: changed, etag: 'v1' });
    expect(updated.provider).toMatchObject({ etag: 'v2', definition: { displayName: 'Renamed' } });
    expect((await failureOf(integrations.updateProvider({ definition: changed, etag: 'v1' }))).reason).toBe(
      'ETAG_MISMATCH',
    );
    const { integration } = await integrations.createIntegration({ provider: 'ours' });
    expect(await failureOf(integrations.deleteProvider({ name: 'ours' }))).toMatchObject({
      reason: 'PROVIDER_IN_USE',
      metadata: { integration_count: '1' },
    });
    await integrations.deleteIntegration({ integrationId: integration!.id });
    await integrations.deleteProvider({ name: 'ours' });
    expect((await failureOf(integrations.getProvider({ name: 'ours' }))).reason).toBe('PROVIDER_NOT_FOUND');
    expect((await failureOf(integrations.deleteProvider({ name: 'slack' }))).reason).toBe('PROVIDER_NOT_FOUND');
  });

  it('has secrets sent to another host only by who may read them, once there are integrations', async () => {
    const admin = await as('admin');
    const keyWith = async (...scopes: string[]) => {
      const { secret } = await admin.access.createApiKey({ displayName: 'x', scopes });
      return server().clients(transport, { authorization: `Bearer ${secret}` }).integrations;
    };
    const manager = await keyWith('provider:manage');
    const reader = await keyWith('provider:manage', 'integration_credential:read', 'credential:read');
    const half = await keyWith('provider:manage', 'integration_credential:read');
    const own = custom('ours');
    const withOAuth = (oauth: object) => ({ definition: { ...own, oauth: { ...own.oauth, ...oauth } } });
    await manager.createProvider({ definition: own });
    await manager.updateProvider(withOAuth({ tokenUrl: 'https://auth.example.com/token' }));
    await manager.updateProvider({ definition: own });
    await admin.integrations.createIntegration({ provider: 'ours' });
    const missing = (permission: string) => ({ reason: 'PERMISSION_MISSING', metadata: { permission } });
    for (const elsewhere of [
      { tokenUrl: 'https://evil.example.com/token' },
      { tokenUrl: 'https://login.example.com:8443/token' },
      { tokenUrl: 'http://login.example.com/token' },
      { authorizationUrl: 'https://evil.example.com/authorize' },
      { deviceAuthorizationUrl: 'https://evil.example.com/device' },
      { pushedAuthorizationRequestUrl: 'https://evil.example.com/par' },
      { revocation: { url: 'https://evil.example.com/revoke' } },
      { identity: { url: 'https://evil.example.com/me', accountId: ['/id'] } },
      { lifetimes: { introspectionUrl: 'https://evil.example.com/introspect' } },
      { issuer: 'https://evil.example.com' },
      { answer: { kept: { api: '/api' }, baseUrlFrom: 'api' } },
    ]) {
      const failure = await failureOf(manager.updateProvider(withOAuth(elsewhere)));
      expect(failure, JSON.stringify(elsewhere)).toMatchObject(missing('integration_credential:read'));
      expect(await failureOf(half.updateProvider(withOAuth(elsewhere)))).toMatchObject(missing('credential:read'));
    }
    const api = { definition: { ...own, apiBaseUrl: 'https://evil.example.com' } };
    expect(await failureOf(manager.updateProvider(api))).toMatchObject(missing('integration_credential:read'));
    expect((await manager.getProvider({ name: 'ours' })).provider).toMatchObject({ etag: 'v3' });
    await manager.updateProvider(
      withOAuth({
        tokenUrl: 'https://login.example.com/v2/token',
        revocation: { url: 'https://login.example.com/revoke' },
      }),
    );
    await reader.updateProvider(withOAuth({ tokenUrl: 'https://auth.example.com/token' }));
  });

  it('says by whom the name in a host is filled in, and with what', async () => {
    const admin = await as('admin');
    const manager = await as('resource_manager');
    const { secret } = await admin.access.createApiKey({ displayName: 'x', scopes: ['provider:manage'] });
    const byKey = server().clients(transport, { authorization: `Bearer ${secret}` }).integrations;
    const own = custom('sites');
    const definitionOf = (defaultValue: string, displayName = 'Our own') => ({
      ...{ ...own, displayName, parameters: [{ name: 'site', defaultValue }] },
      oauth: { ...own.oauth, tokenUrl: 'https://{site}/token' },
    });
    await byKey.createProvider({ definition: definitionOf('login.example.com') });
    const { integration } = await manager.integrations.createIntegration({ provider: 'sites' });
    await byKey.updateProvider({ definition: definitionOf('login.example.com', 'Renamed') });
    const moved = await failureOf(byKey.updateProvider({ definition: definitionOf('evil.example.com') }));
    expect(moved.reason).toBe('PERMISSION_MISSING');
    const settings = { entries: { site: 'evil.example.com' } };
    const update = { integrationId: integration!.id, settings };
    expect(await failureOf(manager.integrations.updateIntegration(update))).toMatchObject({
      reason: 'PERMISSION_MISSING',
      metadata: { permission: 'integration_credential:read' },
    });
    const { integration: after } = await admin.integrations.updateIntegration(update);
    expect(after?.settings).toEqual({ site: 'evil.example.com' });
  });

  it('names what is wrong with a definition', async () => {
    const { integrations } = await as('admin');
    const wrong = custom('wrong');
    const undeclared = { ...wrong, oauth: { ...wrong.oauth, tokenUrl: 'https://{region}.example.com/token' } };
    const failure = await failureOf(integrations.createProvider({ definition: undeclared }));
    expect(failure.reason).toBe('FIELD_INVALID');
    expect(failure.fields.join()).toContain('token_url');
    const notUrl = { ...wrong, oauth: { ...wrong.oauth, tokenUrl: 'ftp://example.com' } };
    expect((await failureOf(integrations.createProvider({ definition: notUrl }))).fields).toEqual([
      'definition.oauth.token_url',
    ]);
    const metadata = { ...wrong, oauth: { ...wrong.oauth, tokenUrl: 'http://169.254.169.254/token' } };
    expect(await failureOf(integrations.createProvider({ definition: metadata }))).toMatchObject({
      reason: 'ADDRESS_FORBIDDEN',
      metadata: { host: '169.254.169.254' },
    });
    expect((await failureOf(integrations.createProvider({}))).fields).toEqual(['definition']);
  });

  it('is for administrators to change', async () => {
    const { integrations } = await as('resource_manager');
    const failure = await failureOf(integrations.createProvider({ definition: custom('ours') }));
    expect(failure).toMatchObject({ reason: 'PERMISSION_MISSING', metadata: { permission: 'provider:manage' } });
  });
});

describeRpc('IntegrationService, integrations', ({ as, server, tenant }) => {
  const made = async (input: { provider?: string; requestId?: string } = {}) => {
    const clients = await as('resource_manager');
    const { integration } = await clients.integrations.createIntegration({ provider: 'google', ...input });
    return { ...clients, integration: integration!, integrationId: integration!.id };
  };
  const imported = async ({ connections }: Pick<Clients, 'connections'>, integrationId: string) => {
    const value = { accessToken: { source: { case: 'value' as const, value: 'at' } } };
    const credential = { kind: { case: 'oauth2' as const, value } };
    const { connection } = await connections.createConnection({ name: 'imported', integrationId, credential });
    return connection!;
  };

  it('answers what was set up, without secrets', async () => {
    const { integrations, integrationId, integration } = await made();
    expect(integration).toMatchObject({
      displayName: 'Google',
      enabled: true,
      clientId: '',
      clientSecrets: [],
      redirectUri: `http://localhost:${server().replica.httpPort}/oauth/callback/google`,
    });
    const clientSecrets = ['first-secret-value', 'second-secret-value'];
    const set = await integrations.setIntegrationCredentials({ integrationId, clientId: 'id', clientSecrets });
    expect(set.integration?.clientId).toBe('id');
    expect(set.integration?.clientSecrets).toHaveLength(2);
    const { integration: read } = await integrations.getIntegration({ integrationId });
    expect(read?.clientSecrets.map(({ id }) => id)).toEqual(set.integration?.clientSecrets.map(({ id }) => id));
    const listed = await integrations.listIntegrations({ provider: 'google', withTotalSize: true });
    expect(listed).toMatchObject({ totalSize: 1, integrations: [{ id: integrationId }] });
    const dump = await server().database.sql('select value from latchkey.integration_secret');
    expect(JSON.stringify([listed.integrations.map(String), dump])).not.toContain('secret-value');
  });

  it('hands its credentials to who may have them, and records that', async () => {
    const { integrations, integrationId } = await made();
    await integrations.setIntegrationCredentials({ integrationId, clientId: 'id', clientSecrets: ['one', 'two'] });
    const refused = await failureOf(integrations.downloadIntegrationCredentials({ integrationId }));
    expect(refused).toMatchObject({ reason: 'PERMISSION_MISSING' });
    const admin = await as('admin');
    const { document, filename } = await admin.integrations.downloadIntegrationCredentials({ integrationId });
    expect(JSON.parse(document)).toMatchObject({
      provider: 'google',
      client_id: 'id',
      client_secrets: ['one', 'two'],
    });
    expect(filename).toBe(`google-${integrationId}.json`);
    await expect
      .poll(async () => (await admin.audit.listAuditEntries({})).entries.map(({ action }) => action))
      .toContain('integration_credentials_downloaded');
    const { integration } = await integrations.createIntegration({ provider: 'google' });
    await integrations.setIntegrationCredentials({ integrationId: integration!.id, document });
    const copy = await admin.integrations.downloadIntegrationCredentials({ integrationId: integration!.id });
    expect(JSON.parse(copy.document).client_secrets).toEqual(['one', 'two']);
  });

  it("takes Google's client JSON as it is downloaded", async () => {
    const { integrations, integrationId } = await made();
    const web = { client_id: 'x.apps.googleusercontent.com', project_id: 'p', client_secret: 'GOCSPX-s' };
    await integrations.setIntegrationCredentials({ integrationId, document: JSON.stringify({ web }) });
    const { integration } = await integrations.getIntegration({ integrationId });
    expect(integration).toMatchObject({ clientId: web.client_id });
    expect(integration?.clientSecrets).toHaveLength(1);
    for (const document of ['no json', '{}', '{"web":{"client_id":""}}', '{"client_id":"a","client_secrets":[1]}']) {
      const failure = await failureOf(integrations.setIntegrationCredentials({ integrationId, document }));
      expect(failure, document).toMatchObject({ reason: 'FIELD_INVALID', fields: ['document'] });
    }
    expect((await failureOf(integrations.setIntegrationCredentials({ integrationId }))).fields).toEqual(['client_id']);
    const cleared = await integrations.deleteIntegrationCredentials({ integrationId });
    expect(cleared.integration).toMatchObject({ clientId: '', clientSecrets: [] });
  });

  it('changes what is set, and nothing else', async () => {
    const { integrations, integrationId } = await made();
    const changed = await integrations.updateIntegration({
      integrationId,
      etag: 'v1',
      scopes: { scopes: ['a', 'b'] },
      returnUrls: { origins: ['https://app.example.com'] },
      redirectPath: '/auth/callback',
      autoCreateUsers: true,
      apps: { names: ['mail'] },
    });
    expect(changed.integration).toMatchObject({
      displayName: 'Google',
      scopes: ['a', 'b'],
      returnUrls: ['https://app.example.com'],
      redirectUri: `http://localhost:${server().replica.httpPort}/auth/callback`,
      autoCreateUsers: true,
      apps: ['mail'],
      etag: 'v2',
    });
    const cleared = await integrations.updateIntegration({ integrationId, scopes: {} });
    expect(cleared.integration).toMatchObject({ scopes: [], apps: ['mail'] });
    expect((await failureOf(integrations.updateIntegration({ integrationId, etag: 'v1' }))).reason).toBe(
      'ETAG_MISMATCH',
    );
    const path = await failureOf(
      integrations.updateIntegration({ integrationId, returnUrls: { origins: ['https://a.b/c'] } }),
    );
    expect(path.reason).toBe('FIELD_INVALID');
  });

  it('fills in what the provider leaves open', async () => {
    const { integrations } = await as('resource_manager');
    const { provider } = await integrations.getProvider({ name: 'microsoft' });
    const [parameter] = provider!.definition!.parameters;
    const failure = await failureOf(
      integrations.createIntegration({ provider: 'microsoft', settings: { [parameter!.name]: 'evil.com/x' } }),
    );
    expect(failure).toMatchObject({ reason: 'FIELD_INVALID', fields: [`settings["${parameter!.name}"]`] });
    const unknown = await failureOf(integrations.createIntegration({ provider: 'microsoft', settings: { what: 'x' } }));
    expect(unknown.fields).toEqual(['settings["what"]']);
    const { integration } = await integrations.createIntegration({
      provider: 'microsoft',
      settings: { [parameter!.name]: 'common' },
    });
    expect(integration?.settings).toEqual({ [parameter!.name]: 'common' });
  });

  it('is made once for a request_id', async () => {
    const first = await made({ requestId: 'r1' });
    const again = await first.integrations.createIntegration({ provider: 'google', requestId: 'r1' });
    expect(again.integration?.id).toBe(first.integrationId);
    const other = await failureOf(first.integrations.createIntegration({ provider: 'slack', requestId: 'r1' }));
    expect(other.reason).toBe('REQUEST_ID_REUSED');
  });

  it('is enabled and disabled, with an event each', async () => {
    const { integrations, integrationId } = await made();
    await integrations.disableIntegration({ integrationId });
    const { integration } = await integrations.disableIntegration({ integrationId });
    expect(integration).toMatchObject({ enabled: false, etag: 'v2' });
    await integrations.enableIntegration({ integrationId });
    const events = await server().database.sql<{ type: string }>(
      'select type from latchkey.outbox where aggregate_id = $1 order by id',
      [integrationId],
    );
    expect(events.map(({ type }) => type)).toEqual([
      'integration.created',
      'integration.disabled',
      'integration.enabled',
    ]);
  });

  it('is not deleted with its connections, but by force', async () => {
    const { integrations, connections, integrationId } = await made();
    const connection = await imported({ connections }, integrationId);
    expect(connection).toMatchObject({ provider: 'google', integrationId, status: ConnectionStatus.ACTIVE });
    const counted = await integrations.getIntegration({ integrationId });
    expect(counted.integration?.connectionCounts).toEqual({ ACTIVE: 1 });
    expect(await failureOf(integrations.deleteIntegration({ integrationId }))).toMatchObject({
      reason: 'INTEGRATION_IN_USE',
      metadata: { connection_count: '1' },
    });
    await integrations.deleteIntegration({ integrationId, force: true });
    const after = await connections.getConnection({ connectionId: connection.id });
    expect(after.connection).toMatchObject({ status: ConnectionStatus.REVOKED, integrationId: '' });
    expect((await failureOf(integrations.getIntegration({ integrationId }))).reason).toBe('INTEGRATION_NOT_FOUND');
  });

  it('ends the grants of the client before when it is given another, and says so of each', async () => {
    const { integrations, integrationId } = await made();
    const { connections, audit } = await as('admin');
    await integrations.setIntegrationCredentials({ integrationId, clientId: 'one', clientSecrets: ['s'] });
    const { id: connectionId } = await imported({ connections }, integrationId);
    await integrations.setIntegrationCredentials({ integrationId, clientId: 'one', clientSecrets: ['t'] });
    await connections.getCredentials({ connectionId });
    for (let turn = 0; turn < 2; turn++)
      await integrations.setIntegrationCredentials({ integrationId, clientId: 'two', clientSecrets: ['t'] });
    const failure = await failureOf(connections.getCredentials({ connectionId }));
    expect(failure).toMatchObject({ reason: 'REAUTHORIZATION_REQUIRED', metadata: { cause: 'refused' } });
    expect((await connections.getConnection({ connectionId })).connection?.etag).toBe('v2');
    const own = (await audit.listAuditEntries({ pageSize: 100 })).entries.filter(
      ({ resourceId, action }) => resourceId === connectionId && action === 'connection_reauthorization_required',
    );
    expect(own).toMatchObject([
      {
        before: { status: 'ACTIVE', version: 1 },
        after: { status: 'REAUTHORIZATION_REQUIRED', reason: 'client_changed', version: 2 },
      },
    ]);
    const events = await server().database.sql<{ type: string; generation: number }>(
      'select type, generation from latchkey.outbox where aggregate_id = $1 order by id',
      [connectionId],
    );
    expect(events).toEqual([
      { type: 'connection.created', generation: 1 },
      { type: 'connection.reauthorization_required', generation: 2 },
    ]);
  });

  it('revokes no connection again that somebody revokes while it is deleted', async () => {
    const { integrations, connections, integrationId } = await made();
    const { id } = await imported({ connections }, integrationId);
    const { database } = server();
    const client = new Client({ connectionString: database.migrationUrl });
    await client.connect();
    await client.query('begin');
    await client.query(`update latchkey.connection set status = 'REVOKED' where id = $1`, [id]);
    const deleting = integrations.deleteIntegration({ integrationId, force: true });
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await expect.poll(() => database.sql(waiting), { timeout: 10_000 }).toHaveLength(1);
    await client.query('commit');
    await client.end();
    await deleting;
    const { audit } = await as('admin');
    const { entries } = await audit.listAuditEntries({ pageSize: 100 });
    expect(entries.filter(({ resourceId }) => resourceId === id).map(({ action }) => action)).toEqual([
      'connection_created',
    ]);
    expect((await connections.getConnection({ connectionId: id })).connection?.integrationId).toBe('');
  });

  it('does not exist for another tenant', async () => {
    const { integrationId } = await made();
    const { integrations, connections } = await as('admin', { tenant: `${tenant()}-other` });
    const absent = integrationId.replace(/.{4}$/, '0000');
    const calls = [
      (id: string) => integrations.getIntegration({ integrationId: id }),
      (id: string) => integrations.updateIntegration({ integrationId: id }),
      (id: string) => integrations.deleteIntegration({ integrationId: id, force: true }),
      (id: string) => integrations.enableIntegration({ integrationId: id }),
      (id: string) => integrations.disableIntegration({ integrationId: id }),
      (id: string) => integrations.setIntegrationCredentials({ integrationId: id, clientId: 'x' }),
      (id: string) => integrations.deleteIntegrationCredentials({ integrationId: id }),
      (id: string) => integrations.downloadIntegrationCredentials({ integrationId: id }),
      (id: string) =>
        connections.startAuthorization({
          integrationId: id,
          target: { case: 'newConnection', value: { name: 'n' } },
        }),
    ];
    for (const call of calls) {
      const [foreign, missing] = [await failureOf(call(integrationId)), await failureOf(call(absent))];
      expect(foreign).toMatchObject({ code: 'NotFound', reason: 'INTEGRATION_NOT_FOUND' });
      expect({ ...foreign, metadata: null }).toEqual({ ...missing, metadata: null });
    }
    expect((await integrations.listIntegrations({})).integrations).toEqual([]);
  });
});
