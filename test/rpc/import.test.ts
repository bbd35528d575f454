import { type JsonObject, toJson } from '@bufbuild/protobuf';
import { expect, it } from 'vitest';
import { ConnectionCheckStatus, ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import {
  GetCredentialsResponseSchema,
  ImportAction,
  ImportConflict,
  type ImportConnectionsResponse,
} from '../../gen/latchkey/v1/connection_service_pb.ts';
import { CredentialKind } from '../../gen/latchkey/v1/credential_pb.ts';
import { DeliveryStatus } from '../../gen/latchkey/v1/delivery_pb.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import { startReceiver } from '../harness/receiver.ts';
import type { Clients } from '../harness/server.ts';

/** As the guide of the Integrations Hub has them. */
const API_KEY = {
  name: 'Stripe API',
  type: 'api_key',
  baseUrl: 'https://api.stripe.com/v1',
  authConfig: { apiKeyLocation: 'header', apiKeyName: 'Authorization', apiKeyRef: 'stripe_api_key' },
  secretRefs: { stripe_api_key: 'stripe-sk-test-xxxxx' },
};
const BEARER = {
  name: 'GitHub API',
  type: 'bearer',
  baseUrl: 'https://api.github.com',
  authConfig: { tokenRef: 'github_token' },
  secretRefs: { github_token: 'github-token-key' },
};
const TWILIO = {
  name: 'Twilio API',
  type: 'oauth2_client_credentials',
  baseUrl: 'https://api.twilio.com/2010-04-01',
  authConfig: {
    ...{ tokenUrl: 'https://api.twilio.com/oauth/token', scope: 'read write' },
    ...{ clientIdRef: 'twilio_client_id', clientSecretRef: 'twilio_client_secret' },
  },
  secretRefs: { twilio_client_id: 'twilio-id-key', twilio_client_secret: 'twilio-secret-key' },
};
const GOOGLE = {
  name: 'Google Drive API',
  type: 'oauth2_3leg',
  baseUrl: 'https://www.googleapis.com/drive/v3',
  authConfig: {
    ...{ authUrl: 'https://accounts.google.com/o/oauth2/v2/auth', tokenUrl: 'https://oauth2.googleapis.com/token' },
    ...{ clientIdRef: 'google_client_id', clientSecretRef: 'google_client_secret' },
    scope: 'https://www.googleapis.com/auth/drive.readonly',
  },
  oauthState: {
    ...{ accessToken: 'encrypted_access_token', refreshToken: 'encrypted_refresh_token', tokenType: 'Bearer' },
    expiresAt: 1730000000000,
  },
};
const GUIDE = [API_KEY, BEARER, { ...TWILIO, secrets: { 'twilio-id-key': 'AC1' } }, GOOGLE];

const nameOf = (numbers: Record<string, number>, value: number) =>
  Object.keys(numbers).find((name) => numbers[name] === value);

describeRpc('ConnectionService.ImportConnections', ({ as, server, tenant }) => {
  async function withSecrets(clients: Clients): Promise<Clients> {
    for (const name of ['stripe-sk-test-xxxxx', 'github-token-key', 'twilio-secret-key'])
      await clients.secrets.createSecret({ name, value: `value of ${name}` });
    return clients;
  }

  const actions = ({ rows }: ImportConnectionsResponse) => rows.map(({ action }) => nameOf(ImportAction, action));
  const remarks = ({ rows }: ImportConnectionsResponse) => rows.map((row) => row.remarks.map(({ field }) => field));
  const count = async () =>
    Number(
      (
        await server().database.sql<{ n: string }>(
          'select count(*) as n from latchkey.connection where tenant_id = $1',
          [tenant()],
        )
      )[0]!.n,
    );

  it('makes a connection of each document of the guide', async () => {
    const clients = await withSecrets(await as('admin'));
    const report = await clients.connections.importConnections({ documents: GUIDE, projectId: 'p1' });
    expect(actions(report)).toEqual(['CREATED', 'CREATED', 'CREATED', 'CREATED']);
    expect(report.createdCount).toBe(4);
    expect(remarks(report)).toEqual([[], [], ['authConfig.tokenUrl'], ['oauthState', 'type']]);
    const [stripe, github, twilio, google] = await Promise.all(
      report.rows.map(
        async ({ connectionId }) => (await clients.connections.getConnection({ connectionId })).connection!,
      ),
    );
    expect(stripe).toMatchObject({
      ...{ name: 'Stripe API', projectId: 'p1', baseUrl: 'https://api.stripe.com/v1', kind: CredentialKind.API_KEY },
      ...{ timeoutMs: 8000, retries: 2, backoffMs: 250, enabled: true, ownerUserId: '' },
      configSummary: { location: 'header', name: 'Authorization', key: { secret_ref: 'stripe-sk-test-xxxxx' } },
    });
    const credentials = await clients.connections.getCredentials({ connectionId: stripe!.id });
    expect(toJson(GetCredentialsResponseSchema, credentials)).toMatchObject({
      headers: [{ name: 'Authorization', value: 'value of stripe-sk-test-xxxxx' }],
    });
    expect(github).toMatchObject({ kind: CredentialKind.BEARER, status: ConnectionStatus.ACTIVE });
    expect(twilio).toMatchObject({
      kind: CredentialKind.CLIENT_CREDENTIALS,
      configSummary: {
        ...{ token_url: 'https://oauth.twilio.com/v2/token', client_id: 'AC1', scopes: ['read', 'write'] },
        client_secret: { secret_ref: 'twilio-secret-key' },
      },
    });
    expect(google).toMatchObject({
      ...{ kind: CredentialKind.OAUTH2, provider: 'google', status: ConnectionStatus.PENDING, integrationId: '' },
      requestedScopes: ['https://www.googleapis.com/auth/drive.readonly'],
    });
    const sealed = await server().database.sql('select 1 from latchkey.credential where connection_id = $1', [
      google!.id,
    ]);
    expect(sealed).toEqual([]);
    const entries = await server().database.sql(
      `select 1 from latchkey.audit_entry where tenant_id = $1 and action = 'connection_created'`,
      [tenant()],
    );
    const told = await server().database.sql(
      `select 1 from latchkey.outbox where tenant_id = $1 and type = 'connection.created'`,
      [tenant()],
    );
    expect([entries.length, told.length]).toEqual([4, 4]);
  });

  it('reads the old shape, its kinds and its column names', async () => {
    const { connections } = await as('admin');
    const old = (authType: string, other: JsonObject = {}): JsonObject => ({
      ...{ id: `x-${authType}`, name: authType, project_id: 'p2', base_url: 'https://a.example', authType },
      ...{ default_headers: { 'X-A': '1' }, timeout_ms: 500, retries: 0, backoff_ms: 0, enabled: false },
      ...other,
    });
    const report = await connections.importConnections({
      documents: [
        old('api_key', { secretId: 'k', secrets: { k: 'key' }, authConfig: { apiKeyLocation: 'query' } }),
        old('bearer', { secretId: 't', secrets: { t: 'token' } }),
        old('oauth2', {
          secretId: 's',
          secrets: { s: 'hush' },
          authConfig: { tokenUrl: 'https://a.example/t', clientId: 'me' },
        }),
        old('basic_auth', { secretId: 'p', secrets: { p: 'pass' }, authConfig: { username: 'ann' } }),
        old('none'),
      ],
    });
    expect(actions(report)).toEqual(Array.from({ length: 5 }, () => 'CREATED'));
    const made = await Promise.all(
      report.rows.map(async ({ connectionId }) => (await connections.getConnection({ connectionId })).connection!),
    );
    expect(made.map(({ kind }) => nameOf(CredentialKind, kind))).toEqual([
      'API_KEY',
      'BEARER',
      'CLIENT_CREDENTIALS',
      'BASIC',
      'CUSTOM',
    ]);
    for (const connection of made) {
      expect(connection).toMatchObject({
        ...{ projectId: 'p2', baseUrl: 'https://a.example', timeoutMs: 500, retries: 0, backoffMs: 0, enabled: false },
        ...{ defaultHeaders: { 'X-A': '1' }, metadata: { legacy_id: `x-${connection.name}` } },
      });
    }
    expect(made[0]!.configSummary).toEqual({ location: 'query', name: 'api_key', prefix: '' });
    const { connectionId } = report.rows[3]!;
    await connections.enableConnection({ connectionId });
    const { headers } = await connections.getCredentials({ connectionId });
    expect(headers[0]?.value).toBe(`Basic ${Buffer.from('ann:pass').toString('base64')}`);
    const none = report.rows[4]!.connectionId;
    await connections.enableConnection({ connectionId: none });
    expect((await connections.getCredentials({ connectionId: none })).headers).toEqual([]);
  });

  it('makes one without a credential, which is usable wherever one with a credential is', async () => {
    await using receiver = await startReceiver();
    const { connections, webhooks } = await as('admin');
    const document = { name: 'open', authType: 'none', baseUrl: `${receiver.url}/api` };
    const { rows } = await connections.importConnections({ documents: [document] });
    const { connectionId } = rows[0]!;
    const { response } = await connections.sendRequest({ connectionId, path: '/sent' });
    expect(response?.status).toBe(200);
    const authorization = `Bearer ${await server().token('admin', { tenant: tenant() })}`;
    const proxied = await fetch(`${server().httpUrl}/proxy/${connectionId}/proxied`, { headers: { authorization } });
    expect(proxied.status).toBe(200);
    const { delivery } = await webhooks.sendWebhook({ connectionId, path: '/hook' });
    expect(delivery).toMatchObject({ status: DeliveryStatus.SUCCEEDED, error: '' });
    expect(await connections.testConnection({ connectionId })).toMatchObject({
      ...{
        status: ConnectionCheckStatus.VALID,
        success: true,
        message: expect.stringContaining('without a credential'),
      },
    });
    expect(receiver.requests.map(({ path }) => path)).toEqual(['/api/sent', '/api/proxied', '/api/hook', '/api']);
    for (const { headers } of receiver.requests) expect(headers.authorization).toBeUndefined();
    receiver.answer = (_, response) => void response.writeHead(401).end();
    expect(await connections.testConnection({ connectionId })).toMatchObject({
      ...{ status: ConnectionCheckStatus.INVALID, message: expect.stringContaining('not put in') },
    });
  });

  it('takes tokens that say that they are plain, for the integration of their provider', async () => {
    const clients = await as('admin');
    const { integration } = await clients.integrations.createIntegration({ provider: 'google' });
    const expiresAt = Date.now() + 3_600_000;
    const oauthState = { encrypted: false, accessToken: 'at', refreshToken: 'rt', expiresAt, scope: 'a b' };
    const report = await clients.connections.importConnections({ documents: [{ ...GOOGLE, oauthState }] });
    expect(actions(report)).toEqual(['CREATED']);
    const { connectionId } = report.rows[0]!;
    const { connection } = await clients.connections.getConnection({ connectionId });
    expect(connection).toMatchObject({
      ...{
        integrationId: integration!.id,
        provider: 'google',
        status: ConnectionStatus.ACTIVE,
        grantedScopes: ['a', 'b'],
      },
    });
    const { headers, expireTime } = await clients.connections.getCredentials({ connectionId });
    expect([headers[0]?.value, Number(expireTime?.seconds)]).toEqual(['Bearer at', Math.floor(expiresAt / 1000)]);
    const [row] = await server().database.sql('select refresh_due from latchkey.credential where connection_id = $1', [
      connectionId,
    ]);
    expect(row!.refresh_due).toEqual(new Date(expiresAt));
  });

  it('says where nothing renews imported tokens, and opens no stored secret for what reads answer', async () => {
    const { connections } = await withSecrets(await as('admin'));
    const plain = { encrypted: false, accessToken: 'at', refreshToken: 'rt' };
    const report = await connections.importConnections({ documents: [{ ...GOOGLE, oauthState: plain }], dryRun: true });
    expect(remarks(report)).toEqual([['oauthState']]);
    const leading = { ...TWILIO.authConfig, clientIdRef: 'stripe-sk-test-xxxxx' };
    const led = await connections.importConnections({ documents: [{ ...TWILIO, authConfig: leading }] });
    expect([actions(led), remarks(led)]).toEqual([['FAILED'], [['authConfig.clientId']]]);
  });

  it('writes nothing where one row is wrong, and names every wrong row at once', async () => {
    const { connections } = await withSecrets(await as('admin'));
    const documents: JsonObject[] = [
      API_KEY,
      { ...BEARER, secretRefs: { github_token: 'nowhere' } },
      TWILIO,
      { ...API_KEY, name: '' },
      { ...API_KEY, name: 'kind', type: 'ldap' },
      { ...API_KEY, name: 'limits', timeoutMs: 99, retries: 2.5, backoffMs: 'long' },
      { ...API_KEY, name: 'url', baseUrl: 'ftp://a', enabled: 'false' },
      { ...API_KEY, name: 'headers', defaultHeaders: { Authorization: 'x', 'bad name': 'y' } },
      {
        ...API_KEY,
        name: 'location',
        authConfig: { apiKeyLocation: 'cookie', apiKeyName: 'a b', apiKeyRef: 'stripe_api_key' },
      },
      { ...API_KEY, name: 'no ref', authConfig: {} },
      { ...TWILIO, name: 'token url', authConfig: { ...TWILIO.authConfig, clientId: 'x', tokenUrl: 'nowhere' } },
      { ...GOOGLE, name: 'times', oauthState: { encrypted: false, accessToken: '', expiresAt: 'soon' } },
      { ...API_KEY },
      { ...API_KEY, name: 'provider', provider: 'No Provider' },
      { ...BEARER, name: 'form', provider: 'github', secrets: { 'github-token-key': 'not of GitHub' } },
    ];
    const report = await connections.importConnections({ documents });
    expect(remarks(report)).toEqual([
      [],
      ['secretRefs'],
      ['authConfig.clientId'],
      ['name'],
      ['type'],
      ['timeoutMs', 'retries', 'backoffMs'],
      ['baseUrl', 'enabled'],
      ['defaultHeaders.bad name', 'default_headers.entries["Authorization"]'],
      ['authConfig.apiKeyLocation', 'authConfig.apiKeyName'],
      ['authConfig.apiKeyRef'],
      ['authConfig.tokenUrl'],
      ['oauthState.expiresAt', 'oauthState.accessToken'],
      ['name'],
      ['provider'],
      ['credential.bearer.token'],
    ]);
    expect(actions(report)).toEqual(documents.map((_, index) => (index === 0 ? 'WOULD_CREATE' : 'FAILED')));
    expect(report.rows[1]!.remarks[0]!.message).toContain('nowhere');
    expect(report.createdCount).toBe(0);
    expect(await count()).toBe(0);
  });

  it('does nothing in a dry run, and says what it would do', async () => {
    const { connections } = await withSecrets(await as('admin'));
    const report = await connections.importConnections({ documents: GUIDE, dryRun: true });
    expect(actions(report)).toEqual(GUIDE.map(() => 'WOULD_CREATE'));
    expect(report.rows.map(({ connectionId }) => connectionId)).toEqual(GUIDE.map(() => ''));
    expect(await count()).toBe(0);
  });

  it('fails where names are taken, or passes those over, so that it can be repeated', async () => {
    const { connections } = await withSecrets(await as('admin'));
    await connections.importConnections({ documents: [API_KEY] });
    const failed = await connections.importConnections({ documents: [API_KEY, BEARER] });
    expect([actions(failed), await count()]).toEqual([['FAILED', 'WOULD_CREATE'], 1]);
    const onConflict = ImportConflict.SKIP;
    const skipped = await connections.importConnections({ documents: [API_KEY, BEARER, BEARER], onConflict });
    expect([actions(skipped), await count()]).toEqual([['SKIPPED', 'CREATED', 'SKIPPED'], 2]);
    // The same name in another project is another.
    const elsewhere = await connections.importConnections({ documents: [{ ...API_KEY, projectId: 'p9' }] });
    expect(actions(elsewhere)).toEqual(['CREATED']);
  });

  it('is for administrators and keys of the whole tenant, and refers to secrets with secret:use alone', async () => {
    const admin = await withSecrets(await as('admin'));
    const keyWith = async (scopes: string[], projectIds: string[] = []) => {
      const { secret } = await admin.access.createApiKey({ displayName: 'k', scopes, projectIds });
      return server().clients('connect', { authorization: `Bearer ${secret}` });
    };
    const refused = [
      [await as('resource_manager'), 'connection:create'],
      [await as('requestor'), 'connection:create'],
      [await keyWith(['connection:*'], ['p1']), 'connection:create'],
      [await keyWith(['connection:create']), 'secret:use'],
    ] as const;
    for (const [{ connections }, permission] of refused) {
      expect(await failureOf(connections.importConnections({ documents: [API_KEY] }))).toMatchObject({
        ...{ reason: 'PERMISSION_MISSING', metadata: expect.objectContaining({ permission }) },
      });
    }
    const { connections } = await keyWith(['connection:create', 'secret:use']);
    expect(actions(await connections.importConnections({ documents: [API_KEY] }))).toEqual(['CREATED']);
    // Another tenant's secrets do not exist.
    const elsewhere = await (await as('admin', { tenant: `${tenant()}-other` })).connections.importConnections({
      documents: [API_KEY],
    });
    expect(remarks(elsewhere)).toEqual([['secretRefs']]);
  });

  it('takes a thousand at once, in one transaction, and no more', async () => {
    const { connections } = await as('admin');
    const document = (n: number) => ({
      name: `c${n}`,
      type: 'bearer',
      authConfig: { tokenRef: 't' },
      secrets: { t: `token ${n}` },
    });
    const documents = Array.from({ length: 1000 }, (_, n) => document(n));
    expect(await failureOf(connections.importConnections({ documents: [...documents, document(1000)] }))).toMatchObject(
      { fields: ['documents'] },
    );
    expect(await failureOf(connections.importConnections({ documents: [] }))).toMatchObject({ fields: ['documents'] });
    const { createdCount, rows } = await connections.importConnections({ documents });
    expect([createdCount, await count()]).toEqual([1000, 1000]);
    const { headers } = await connections.getCredentials({ connectionId: rows[777]!.connectionId });
    expect(headers[0]?.value).toBe('Bearer token 777');
    expect(server().logLines.join('\n')).not.toContain('token 777');
  });
});
