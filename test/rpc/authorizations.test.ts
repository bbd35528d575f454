import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { ProviderRevocation, StringMapSchema } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { callbackUris, connect, setUp } from '../harness/authorizations.ts';
import { Browser } from '../harness/browser.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import { OAuthServer } from '../harness/oauth-server.ts';
import type { Clients } from '../harness/server.ts';

const NAME = 'strict';
const ORIGIN = 'https://app.example.com';
const HOSTED = `${ORIGIN}/callback`;

describeRpc('ConnectionService, authorizations', ({ as, server, tenant }) => {
  let oauth: OAuthServer;
  let clients: Clients;
  let integrationId: string;
  beforeAll(async () => {
    oauth = await OAuthServer.start({ redirectUris: [...callbackUris(server(), NAME), HOSTED] });
  });
  afterAll(() => oauth.stop());
  beforeEach(async () => {
    clients = await as('admin');
    oauth.account = 'ada';
    oauth.requests.clear();
    integrationId = await setUp(clients, oauth.definition(NAME), { returnUrls: [ORIGIN] });
  });

  const query = async (url: string) => {
    const { url: at } = await new Browser().goto(url, { stopAt: HOSTED });
    return new URL(at).search.slice(1);
  };

  it('lets an application host the redirect itself', async () => {
    const { url, connectionId } = await connect(clients, integrationId, 'mine', { redirectUri: HOSTED });
    expect(new URL(url).origin).toBe(oauth.url);
    const callbackQuery = await query(url);
    const { authorization } = await clients.connections.completeAuthorization({ callbackQuery });
    expect(authorization).toMatchObject({ connectionId, status: AuthorizationStatus.SUCCEEDED });
    const again = await clients.connections.completeAuthorization({ callbackQuery });
    expect(again.authorization?.status).toBe(AuthorizationStatus.SUCCEEDED);
    expect(oauth.count('/token')).toBe(1);
    const { headers } = await clients.connections.getCredentials({ connectionId });
    expect(headers[0]?.value).toMatch(/^Bearer /);
  });

  it('takes the answer from nobody but who started', async () => {
    const { url } = await connect(clients, integrationId, 'mine', { redirectUri: HOSTED });
    const callbackQuery = await query(url);
    const others = [await as('admin', { subject: 'another' }), await as('admin', { tenant: `${tenant()}-other` })];
    for (const other of others) {
      const failure = await failureOf(other.connections.completeAuthorization({ callbackQuery }));
      expect(failure).toMatchObject({ code: 'InvalidArgument', reason: 'AUTHORIZATION_STATE_INVALID' });
    }
    expect(oauth.count('/token')).toBe(0);
    await clients.connections.completeAuthorization({ callbackQuery });
    const page = await new Browser().goto(`${callbackUris(server(), NAME)[0]}?${callbackQuery}`);
    expect(page.text).toContain('AUTHORIZATION_STATE_INVALID');
  });

  it('says why it failed', async () => {
    const { url } = await connect(clients, integrationId, 'mine', { redirectUri: HOSTED });
    const callbackQuery = (await query(url)).replace(/code=[^&]*/, 'code=wrong');
    const failure = await failureOf(clients.connections.completeAuthorization({ callbackQuery }));
    expect(failure).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'AUTHORIZATION_FAILED',
      metadata: { provider_error: 'invalid_grant' },
    });
  });

  it('shows how it stands to who started it, and to who sees the connection', async () => {
    const requestor = await as('requestor', { subject: 'rita' });
    const { id, connectionId } = await connect(requestor, integrationId, 'ritas');
    const read = await requestor.connections.getAuthorization({ authorizationId: id });
    expect(read.authorization).toMatchObject({ id, connectionId, status: AuthorizationStatus.PENDING });
    expect((await clients.connections.getAuthorization({ authorizationId: id })).authorization?.id).toBe(id);
    const others = [await as('requestor', { subject: 'bert' }), await as('admin', { tenant: `${tenant()}-other` })];
    for (const { connections } of others) {
      expect(await failureOf(connections.getAuthorization({ authorizationId: id }))).toMatchObject({
        code: 'NotFound',
        reason: 'AUTHORIZATION_NOT_FOUND',
      });
      const watched = connections.watchAuthorization({ authorizationId: id })[Symbol.asyncIterator]();
      expect((await failureOf(watched.next())).reason).toBe('AUTHORIZATION_NOT_FOUND');
    }
  });

  it('streams until it has ended', async () => {
    const { url, id } = await connect(clients, integrationId, 'mine');
    const seen: AuthorizationStatus[] = [];
    for await (const { authorization } of clients.connections.watchAuthorization({ authorizationId: id })) {
      seen.push(authorization!.status);
      if (seen.length === 1) await new Browser().goto(url);
    }
    expect(seen).toEqual([AuthorizationStatus.PENDING, AuthorizationStatus.SUCCEEDED]);
  });

  it('is begun by who may make connections, on their own alone', async () => {
    const approver = await as('approver');
    const shared = await connect(clients, integrationId, 'shared');
    const again = { target: { case: 'connectionId' as const, value: shared.connectionId } };
    expect((await failureOf(approver.connections.startAuthorization(again))).reason).toBe('PERMISSION_MISSING');
    const rita = await as('requestor', { subject: 'rita' });
    const own = await connect(rita, integrationId, 'ritas');
    const { connection } = await rita.connections.getConnection({ connectionId: own.connectionId });
    expect(connection?.ownerUserId).toMatch(/^user_/);
    const bert = await as('requestor', { subject: 'bert' });
    const theirs = { target: { case: 'connectionId' as const, value: own.connectionId } };
    expect((await failureOf(bert.connections.startAuthorization(theirs))).reason).toBe('CONNECTION_NOT_FOUND');
    expect((await failureOf(connect(bert, integrationId, 'ritas'))).reason).toBe('CONNECTION_NAME_TAKEN');
  });

  it('names what is missing in a request', async () => {
    const { connections } = clients;
    expect((await failureOf(connections.startAuthorization({}))).fields).toEqual(['target']);
    const target = { case: 'newConnection' as const, value: { name: 'n', labels: create(StringMapSchema) } };
    expect((await failureOf(connections.startAuthorization({ target }))).fields).toEqual(['integration_id']);
    const foreign = await failureOf(
      connections.startAuthorization({ integrationId, target, redirectUri: 'https://evil.com/' }),
    );
    expect(foreign.fields).toEqual(['redirect_uri']);
    const { integration } = await clients.integrations.createIntegration({ provider: 'slack' });
    const bare = await failureOf(connections.startAuthorization({ integrationId: integration!.id, target }));
    expect(bare).toMatchObject({
      reason: 'INTEGRATION_MISCONFIGURED',
      metadata: { integration_id: integration!.id, provider_error: 'client_id_missing' },
    });
  });

  it('answers tokens, or where to send the person, in one call', async () => {
    const rita = await as('requestor', { subject: 'rita' });
    const first = await rita.connections.ensureTokens({ provider: NAME });
    if (first.result.case !== 'authorization') throw new Error('no person was asked');
    const { authorizationUrl } = first.result.value;
    const again = await rita.connections.ensureTokens({ provider: NAME });
    expect(again.result.case).toBe('authorization');
    await new Browser().goto(authorizationUrl);
    const after = await rita.connections.ensureTokens({ provider: NAME });
    if (after.result.case !== 'credentials') throw new Error('no credentials');
    expect(after.result.value.credential?.kind.case).toBe('oauth2');
    const bert = await as('requestor', { subject: 'bert' });
    expect((await bert.connections.ensureTokens({ provider: NAME })).result.case).toBe('authorization');
    const none = await failureOf(rita.connections.ensureTokens({ provider: 'google' }));
    expect(none).toMatchObject({ reason: 'INTEGRATION_NOT_FOUND', metadata: { provider: 'google' } });
  });

  it('makes the owner by the verified e-mail, where the integration says so', async () => {
    await as('requestor', { subject: 'ada' }).then(({ access }) => access.getMe({}));
    const value = { name: 'hers', ownerByEmail: true };
    const start = (name: string) =>
      clients.connections.startAuthorization({
        integrationId,
        target: { case: 'newConnection', value: { ...value, name } },
      });
    const known = await start('hers');
    await new Browser().goto(known.authorizationUrl);
    const owner = async (connectionId: string) => {
      const { connection } = await clients.connections.getConnection({ connectionId });
      const { users } = await clients.access.listUsers({});
      return users.find(({ id }) => id === connection?.ownerUserId)?.email ?? null;
    };
    expect(await owner(known.authorization!.connectionId)).toBe('ada@example.com');
    oauth.account = 'newcomer';
    const unknown = await start('refused');
    expect((await new Browser().goto(unknown.authorizationUrl)).text).toContain('USER_UNKNOWN');
    await clients.integrations.updateIntegration({ integrationId, autoCreateUsers: true });
    const made = await start('made');
    await new Browser().goto(made.authorizationUrl);
    expect(await owner(made.authorization!.connectionId)).toBe('newcomer@example.com');
  });

  it('ends the use of a connection at once, and revokes its grant at the provider', async () => {
    const { url, connectionId } = await connect(clients, integrationId, 'mine');
    await new Browser().goto(url);
    const revoked = await clients.connections.revokeConnection({ connectionId });
    expect(revoked).toMatchObject({
      connection: { status: ConnectionStatus.REVOKED },
      providerRevocation: ProviderRevocation.SCHEDULED,
    });
    expect((await failureOf(clients.connections.getCredentials({ connectionId }))).reason).toBe(
      'REAUTHORIZATION_REQUIRED',
    );
    await expect.poll(() => oauth.count('/token/revocation')).toBe(1);
    await expect
      .poll(async () => (await clients.audit.listAuditEntries({})).entries.map(({ action }) => action))
      .toContain('grant_revoked');
    const again = await clients.connections.revokeConnection({ connectionId });
    expect(again.providerRevocation).toBe(ProviderRevocation.NOTHING);
  });

  it('revokes all connections to a provider, or says which', async () => {
    const ids: string[] = [];
    for (const account of ['ada', 'bob']) {
      oauth.account = account;
      const { url, connectionId } = await connect(clients, integrationId, account);
      await new Browser().goto(url);
      ids.push(connectionId);
    }
    const dry = await clients.connections.revokeConnections({ provider: NAME, dryRun: true });
    expect(dry).toMatchObject({ connectionIds: ids, more: false });
    await clients.connections.getCredentials({ connectionId: ids[0]! });
    const done = await clients.connections.revokeConnections({ provider: NAME });
    expect(done.connectionIds).toEqual(ids);
    await expect.poll(() => oauth.count('/token/revocation')).toBe(2);
    expect((await clients.connections.revokeConnections({ provider: NAME })).connectionIds).toEqual([]);
  });

  it('renews tokens that still work, where that is asked for', async () => {
    const { url, connectionId } = await connect(clients, integrationId, 'mine', { scopes: ['offline_access'] });
    await new Browser().goto(url);
    const fresh = await clients.connections.refreshConnection({ connectionId });
    expect(fresh).toMatchObject({ refreshed: false, connection: { id: connectionId } });
    await server().database.sql(
      `update latchkey.credential set expire_time = now() + interval '500 s', lifetime_s = 600 where connection_id = $1`,
      [connectionId],
    );
    const { refreshed, connection } = await clients.connections.refreshConnection({ connectionId });
    expect(refreshed).toBe(true);
    expect(connection?.status).toBe(ConnectionStatus.ACTIVE);
    expect(oauth.count('/token')).toBe(2);
    const other = await as('admin', { tenant: `${tenant()}-other` });
    expect((await failureOf(other.connections.refreshConnection({ connectionId }))).reason).toBe(
      'CONNECTION_NOT_FOUND',
    );
    const key = await clients.connections.createConnection({ name: 'key', credential: bearer('t') });
    const failure = await failureOf(clients.connections.refreshConnection({ connectionId: key.connection!.id }));
    expect(failure).toMatchObject({ code: 'FailedPrecondition', reason: 'REFRESH_NOT_SUPPORTED' });
  });

  it('refuses a lifetime that was asked for and cannot be had', async () => {
    const { url, connectionId } = await connect(clients, integrationId, 'mine');
    await new Browser().goto(url);
    const minValidFor = durationFromMs(3_600_000);
    const failure = await failureOf(clients.connections.getCredentials({ connectionId, minValidFor }));
    expect(failure).toMatchObject({ code: 'FailedPrecondition', reason: 'TOKEN_LIFETIME_TOO_SHORT' });
    expect(Number(failure.metadata.valid_for_s)).toBeGreaterThan(500);
    const bad = await failureOf(clients.connections.getCredentials({ connectionId, minValidFor: durationFromMs(-1) }));
    expect(bad.fields).toEqual(['min_valid_for']);
  });
});
