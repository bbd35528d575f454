import { create } from '@bufbuild/protobuf';
import { timestampDate, timestampFromDate } from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { ConnectionOrder } from '../../gen/latchkey/v1/connection_service_pb.ts';
import {
  ApiKeyCredential_Location,
  CredentialKind,
  CredentialSchema,
  TransportSecurity,
} from '../../gen/latchkey/v1/credential_pb.ts';
import { bearer, secret } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { asFailure, failureOf } from '../harness/errors.ts';

const ABSENT = 'conn_00000000000000000000000000';

describeRpc('ConnectionService.CreateConnection', ({ as }) => {
  it('stores all fields and answers them without secrets', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({
      name: 'billing',
      displayName: 'Billing',
      projectId: 'p1',
      provider: 'stripe',
      credential: bearer('sk_live_secret'),
      baseUrl: 'https://api.stripe.com/v1',
      defaultHeaders: { entries: { 'Stripe-Version': '2026-01-01' } },
      timeoutMs: 100,
      retries: 0,
      backoffMs: 0,
      isDefault: true,
      labels: { entries: { team: 'billing' } },
      metadata: { nested: { list: [1, 'two', null] } },
      config: { region: 'eu' },
      providerAccountId: 'acct_1',
      providerAccountEmail: 'a@example.com',
      providerAccountMetadata: { livemode: true },
      webhookSignatureSecret: 'whsec_secret',
    });
    expect(connection).toMatchObject({
      name: 'billing',
      displayName: 'Billing',
      projectId: 'p1',
      provider: 'stripe',
      kind: CredentialKind.BEARER,
      baseUrl: 'https://api.stripe.com/v1',
      defaultHeaders: { 'Stripe-Version': '2026-01-01' },
      timeoutMs: 100,
      retries: 0,
      backoffMs: 0,
      isDefault: true,
      labels: { team: 'billing' },
      metadata: { nested: { list: [1, 'two', null] } },
      config: { region: 'eu' },
      configSummary: { region: 'eu' },
      providerAccountId: 'acct_1',
      providerAccountEmail: 'a@example.com',
      providerAccountMetadata: { livemode: true },
      hasWebhookSignatureSecret: true,
      enabled: true,
      etag: 'v1',
    });
    expect(await connections.getConnection({ connectionId: connection!.id })).toMatchObject({
      connection: { ...connection },
    });
    expect(JSON.stringify(connection, (_, value) => (typeof value === 'bigint' ? Number(value) : value))).not.toMatch(
      /sk_live_secret|whsec_secret/,
    );
  });

  it('fills in the defaults', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({ name: 'plain', credential: bearer('t') });
    expect(connection).toMatchObject({
      displayName: 'plain',
      timeoutMs: 8000,
      retries: 2,
      backoffMs: 250,
      isDefault: false,
      enabled: true,
      labels: {},
      metadata: {},
    });
    const disabled = await connections.createConnection({ name: 'off', credential: bearer('t'), disabled: true });
    expect(disabled.connection?.enabled).toBe(false);
  });

  it('refuses a name that its project has', async () => {
    const { connections } = await as('admin');
    await connections.createConnection({ name: 'x', credential: bearer('1') });
    await connections.createConnection({ name: 'x', projectId: 'p', credential: bearer('2') });
    const failure = await failureOf(connections.createConnection({ name: 'x', credential: bearer('3') }));
    expect(failure).toMatchObject({ code: 'AlreadyExists', reason: 'CONNECTION_NAME_TAKEN', metadata: { name: 'x' } });
    const taken = await failureOf(connections.createConnection({ name: 'x', projectId: 'p', credential: bearer('3') }));
    expect(taken.reason).toBe('CONNECTION_NAME_TAKEN');
  });

  it('lets one connection be the default of its project, owner and kind, even when two ask at once', async () => {
    const { connections } = await as('admin');
    const made = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        connections.createConnection({ name: `d${i}`, credential: bearer('t'), isDefault: true }),
      ),
    );
    const other = await connections.createConnection({
      name: 'basic',
      credential: { kind: { case: 'basic', value: { username: 'u', password: secret('p') } } },
      isDefault: true,
    });
    const listed = await connections.listConnections({ pageSize: 100 });
    const defaults = listed.connections.filter((connection) => connection.isDefault);
    expect(defaults).toHaveLength(2);
    expect(defaults.map((connection) => connection.id)).toContain(other.connection!.id);
    expect(made).toHaveLength(8);
  });

  it('makes one connection of a repeated request_id', async () => {
    const { connections } = await as('admin');
    const request = { name: 'once', credential: bearer('t'), requestId: 'abc' };
    const answers = await Promise.all(Array.from({ length: 5 }, () => connections.createConnection(request)));
    expect(new Set(answers.map((answer) => answer.connection?.id)).size).toBe(1);
    const reused = await failureOf(connections.createConnection({ ...request, credential: bearer('another') }));
    expect(reused).toMatchObject({ reason: 'REQUEST_ID_REUSED' });
  });

  it('names what is invalid', async () => {
    const { connections } = await as('admin');
    const failure = await failureOf(
      connections.createConnection({
        name: '',
        credential: { kind: { case: 'custom', value: { fields: { ok: secret('') } } } },
        baseUrl: 'ftp://nope',
        timeoutMs: 99,
        retries: 11,
        backoffMs: 5001,
        ownerUserId: 'me',
      }),
    );
    expect(failure).toMatchObject({ code: 'InvalidArgument', reason: 'FIELD_INVALID', domain: 'latchkey' });
    expect([...new Set(failure.fields)].sort()).toEqual(
      [
        'backoff_ms',
        'base_url',
        'credential.custom.fields["ok"].value',
        'name',
        'owner_user_id',
        'retries',
        'timeout_ms',
      ].sort(),
    );
    const missing = await failureOf(connections.createConnection({ name: 'x' }));
    expect(missing.fields).toEqual(['credential']);
    const empty = await failureOf(connections.createConnection({ name: 'x', credential: create(CredentialSchema) }));
    expect(empty.fields).toEqual(['credential.kind']);
    const header = await failureOf(
      connections.createConnection({
        name: 'x',
        credential: bearer('t'),
        defaultHeaders: { entries: { Authorization: 'Bearer x' } },
      }),
    );
    expect(header.fields).toEqual(['default_headers.entries["Authorization"]']);
    const split = await failureOf(
      connections.createConnection({
        name: 'x',
        credential: bearer('t'),
        defaultHeaders: { entries: { 'X-A': 'a\r\nSet-Cookie: b' } },
      }),
    );
    expect(split.fields).toEqual(['default_headers.entries["X-A"]']);
    const large = await failureOf(
      connections.createConnection({ name: 'x', credential: bearer('t'), metadata: { big: 'x'.repeat(70_000) } }),
    );
    expect(large.fields).toEqual(['metadata']);
    expect((await connections.listConnections({})).connections).toEqual([]);
  });

  it('refuses text that cannot be stored, and times beyond the calendar, naming the field', async () => {
    const { connections } = await as('admin');
    const base = { name: 'x', credential: bearer('t') };
    const cases: [Parameters<typeof connections.createConnection>[0], string][] = [
      [{ ...base, providerAccountId: 'a\0b' }, 'provider_account_id'],
      [{ ...base, labels: { entries: { 'k\0': 'v' } } }, 'labels.entries'],
      [{ ...base, config: { deep: ['\0'] } }, 'config["deep"][0]'],
      [{ ...base, credential: bearer('t\0') }, 'credential.bearer.token.value'],
    ];
    for (const [request, field] of cases) {
      const failure = await failureOf(connections.createConnection(request));
      expect(failure).toMatchObject({ code: 'InvalidArgument', reason: 'FIELD_INVALID' });
      expect(failure.fields).toEqual([field]);
    }
    expect((await failureOf(connections.listConnections({ text: '\0' }))).fields).toEqual(['text']);
  });

  it('lets a requestor make what they own, and nothing else', async () => {
    const { connections, access } = await as('requestor');
    const { user } = await access.getMe({});
    const { connection } = await connections.createConnection({ name: 'mine', credential: bearer('t') });
    expect(connection?.ownerUserId).toBe(user?.id);
    const stranger = await (await as('requestor', { subject: 'stranger' })).access.getMe({});
    const failure = await failureOf(
      connections.createConnection({ name: 'theirs', credential: bearer('t'), ownerUserId: stranger.user!.id }),
    );
    expect(failure).toMatchObject({ code: 'PermissionDenied', reason: 'PERMISSION_MISSING' });
    const { connections: admin } = await as('admin');
    const unknown = await failureOf(
      admin.createConnection({ name: 'x', credential: bearer('t'), ownerUserId: 'user_00000000000000000000000000' }),
    );
    expect(unknown).toMatchObject({ code: 'NotFound', reason: 'USER_NOT_FOUND' });
  });
});

describeRpc('ConnectionService.GetCredentials', ({ as }) => {
  it('answers every kind ready to use', async () => {
    const { connections } = await as('admin');
    const expireTime = timestampFromDate(new Date(Date.now() + 3_600_000));
    const kinds = [
      {
        credential: {
          kind: { case: 'apiKey' as const, value: { key: secret('k'), name: 'X-Token', prefix: 'Token ' } },
        },
        headers: [['X-Token', 'Token k']],
        query: [],
      },
      {
        credential: {
          kind: {
            case: 'apiKey' as const,
            value: { key: secret('k'), location: ApiKeyCredential_Location.QUERY, expireTime },
          },
        },
        headers: [],
        query: [['api_key', 'k']],
      },
      { credential: bearer('t'), headers: [['Authorization', 'Bearer t']], query: [] },
      {
        credential: { kind: { case: 'basic' as const, value: { username: 'ä', password: secret('p:q') } } },
        headers: [['Authorization', `Basic ${Buffer.from('ä:p:q').toString('base64')}`]],
        query: [],
      },
      {
        credential: {
          kind: {
            case: 'aws' as const,
            value: {
              accessKeyId: 'AKIA',
              secretAccessKey: secret('s'),
              sessionToken: secret('st'),
              region: 'eu-central-1',
              bucket: 'b',
              endpoint: 'https://minio.example',
            },
          },
        },
        headers: [],
        query: [],
      },
      {
        credential: {
          kind: {
            case: 'smtp' as const,
            value: {
              host: 'mail.example',
              port: 465,
              security: TransportSecurity.TLS,
              from: 'a@b.c',
              username: 'u',
              password: secret('p'),
            },
          },
        },
        headers: [],
        query: [],
      },
      {
        credential: {
          kind: {
            case: 'ftp' as const,
            value: {
              host: 'ftp.example',
              port: 21,
              security: TransportSecurity.STARTTLS,
              path: '/in',
              username: 'u',
              password: secret('p'),
            },
          },
        },
        headers: [],
        query: [],
      },
      {
        credential: { kind: { case: 'custom' as const, value: { fields: { a: secret('1'), b: secret('2') } } } },
        headers: [],
        query: [],
      },
    ];
    for (const [index, { credential, headers, query }] of kinds.entries()) {
      const { connection } = await connections.createConnection({ name: `kind ${index}`, credential });
      const answer = await connections.getCredentials({ connectionId: connection!.id });
      expect(answer).toMatchObject({ connectionId: connection!.id, generation: 1, credential });
      expect(answer.headers.map(({ name, value }) => [name, value])).toEqual(headers);
      expect(answer.query.map(({ name, value }) => [name, value])).toEqual(query);
    }
  });

  it('fills in what SMTP and FTP leave out, and says it in the summary', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({
      name: 'mail',
      credential: { kind: { case: 'smtp', value: { host: 'mail.example', username: 'u', password: secret('p') } } },
    });
    expect(connection?.configSummary).toEqual({
      host: 'mail.example',
      port: 587,
      security: 'starttls',
      from: '',
      username: 'u',
    });
    const ftp = await connections.createConnection({
      name: 'ftp',
      credential: {
        kind: {
          case: 'ftp',
          value: { host: 'f', security: TransportSecurity.TLS, username: 'u', password: secret('p') },
        },
      },
    });
    expect(ftp.connection?.configSummary).toMatchObject({ port: 990, security: 'tls' });
  });

  it('refuses a disabled connection until it is enabled again', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    const connectionId = connection!.id;
    await connections.getCredentials({ connectionId });
    expect((await connections.disableConnection({ connectionId })).connection?.enabled).toBe(false);
    expect(await failureOf(connections.getCredentials({ connectionId }))).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'CONNECTION_DISABLED',
      metadata: { connection_id: connectionId },
    });
    expect(await connections.getConnectionStatus({ connectionId })).toMatchObject({
      status: ConnectionStatus.DISABLED,
      reason: 'CONNECTION_DISABLED',
    });
    await connections.enableConnection({ connectionId });
    expect((await connections.getCredentials({ connectionId })).headers).toHaveLength(1);
    expect(await connections.getConnectionStatus({ connectionId })).toMatchObject({
      status: ConnectionStatus.ACTIVE,
      reason: '',
      advice: '',
    });
  });

  it('refuses a credential that has expired', async () => {
    const { connections } = await as('admin');
    const expireTime = timestampFromDate(new Date(Date.now() - 1000));
    const { connection } = await connections.createConnection({
      name: 'c',
      credential: { kind: { case: 'bearer', value: { token: secret('t'), expireTime } } },
    });
    const connectionId = connection!.id;
    const failure = await failureOf(connections.getCredentials({ connectionId }));
    expect(failure).toMatchObject({
      reason: 'CREDENTIAL_EXPIRED',
      metadata: { expire_time: timestampDate(expireTime).toISOString() },
    });
    expect((await connections.getConnectionStatus({ connectionId })).status).toBe(ConnectionStatus.EXPIRED);
  });

  it('notes its use, to the minute', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    const connectionId = connection!.id;
    expect(connection?.lastUsedAt).toBeUndefined();
    await connections.getCredentials({ connectionId });
    await expect
      .poll(async () => (await connections.getConnection({ connectionId })).connection?.lastUsedAt, { timeout: 5000 })
      .toBeDefined();
  });
});

describeRpc('ConnectionService.UpdateConnection', ({ as }) => {
  it('changes what is set and leaves the rest', async () => {
    const { connections } = await as('admin');
    const { connection: made } = await connections.createConnection({
      name: 'c',
      credential: bearer('t'),
      labels: { entries: { a: '1' } },
      metadata: { kept: true },
      baseUrl: 'https://a.example',
    });
    const connectionId = made!.id;
    const { connection } = await connections.updateConnection({
      connectionId,
      displayName: 'New',
      timeoutMs: 500,
      baseUrl: '',
    });
    expect(connection).toMatchObject({
      displayName: 'New',
      timeoutMs: 500,
      baseUrl: '',
      name: 'c',
      labels: { a: '1' },
      metadata: { kept: true },
      etag: 'v2',
    });
    const cleared = await connections.updateConnection({ connectionId, labels: { entries: {} }, metadata: {} });
    expect(cleared.connection).toMatchObject({ labels: {}, metadata: {}, displayName: 'New' });
    expect((await connections.getCredentials({ connectionId })).headers[0]?.value).toBe('Bearer t');
  });

  it('replaces a secret in place, at once, and may change the kind', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('old') });
    const connectionId = connection!.id;
    await connections.getCredentials({ connectionId });
    await connections.updateConnection({ connectionId, credential: bearer('new') });
    expect(await connections.getCredentials({ connectionId })).toMatchObject({
      generation: 2,
      headers: [{ value: 'Bearer new' }],
    });
    const changed = await connections.updateConnection({
      connectionId,
      credential: { kind: { case: 'basic', value: { username: 'u', password: secret('p') } } },
    });
    expect(changed.connection).toMatchObject({ kind: CredentialKind.BASIC, configSummary: { username: 'u' } });
    expect((await connections.getCredentials({ connectionId })).credential?.kind.case).toBe('basic');
  });

  it('keeps two writers apart by etag', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    const { id: connectionId, etag } = connection!;
    const both = await Promise.allSettled([
      connections.updateConnection({ connectionId, etag, displayName: 'one' }),
      connections.updateConnection({ connectionId, etag, displayName: 'two' }),
    ]);
    expect(both.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    const failure = await failureOf(connections.deleteConnection({ connectionId, etag }));
    expect(failure).toMatchObject({ code: 'Aborted', reason: 'ETAG_MISMATCH', metadata: { etag: 'v2' } });
  });

  it('sets and clears the webhook signature secret', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    const connectionId = connection!.id;
    const set = await connections.updateConnection({ connectionId, webhookSignatureSecret: 'whsec_1' });
    expect(set.connection?.hasWebhookSignatureSecret).toBe(true);
    const kept = await connections.updateConnection({ connectionId, displayName: 'x' });
    expect(kept.connection?.hasWebhookSignatureSecret).toBe(true);
    const cleared = await connections.updateConnection({ connectionId, webhookSignatureSecret: '' });
    expect(cleared.connection?.hasWebhookSignatureSecret).toBe(false);
  });

  it('moves the default mark', async () => {
    const { connections } = await as('admin');
    const a = await connections.createConnection({ name: 'a', credential: bearer('t'), isDefault: true });
    const b = await connections.createConnection({ name: 'b', credential: bearer('t') });
    await connections.updateConnection({ connectionId: b.connection!.id, isDefault: true });
    expect((await connections.getConnection({ connectionId: a.connection!.id })).connection?.isDefault).toBe(false);
    expect((await connections.getConnection({ connectionId: b.connection!.id })).connection?.isDefault).toBe(true);
    const off = await connections.updateConnection({ connectionId: b.connection!.id, isDefault: false });
    expect(off.connection?.isDefault).toBe(false);
  });
});

describeRpc('ConnectionService.ListConnections', ({ as }) => {
  it('filters by every field', async () => {
    const { connections, secrets } = await as('admin');
    const requestor = await as('requestor');
    const owned = await requestor.connections.createConnection({ name: 'owned', credential: bearer('t') });
    const ownerUserId = owned.connection!.ownerUserId;
    await connections.createConnection({
      name: 'alpha',
      projectId: 'p',
      provider: 'slack',
      credential: bearer('xoxb-1-t'),
      labels: { entries: { env: 'prod', team: 'x' } },
    });
    await connections.createConnection({
      name: 'beta_100%',
      credential: { kind: { case: 'basic', value: { username: 'u', password: secret('p') } } },
      disabled: true,
    });
    await connections.createConnection({
      name: 'expired',
      credential: {
        kind: { case: 'bearer', value: { token: secret('t'), expireTime: timestampFromDate(new Date(0)) } },
      },
      providerAccountEmail: 'Someone@Example.com',
    });
    await secrets.createSecret({ name: 's', value: 'v' });
    await connections.createConnection({
      name: 'dangling',
      credential: { kind: { case: 'bearer', value: { token: { source: { case: 'secretRef', value: 's' } } } } },
    });
    await secrets.deleteSecret({ name: 's', force: true });
    const names = async (filter: Parameters<typeof connections.listConnections>[0]) =>
      (await connections.listConnections({ order: ConnectionOrder.NAME_ASC, ...filter })).connections.map(
        (connection) => connection.name,
      );
    expect(await names({})).toEqual(['alpha', 'beta_100%', 'dangling', 'expired', 'owned']);
    expect(await names({ projectId: 'p' })).toEqual(['alpha']);
    expect(await names({ projectId: '' })).toEqual(['beta_100%', 'dangling', 'expired', 'owned']);
    expect(await names({ ownerUserId })).toEqual(['owned']);
    expect(await names({ ownerUserId: '' })).toEqual(['alpha', 'beta_100%', 'dangling', 'expired']);
    expect(await names({ provider: 'slack' })).toEqual(['alpha']);
    expect(await names({ kind: CredentialKind.BASIC })).toEqual(['beta_100%']);
    expect(await names({ enabled: false })).toEqual(['beta_100%']);
    expect(await names({ status: ConnectionStatus.DISABLED })).toEqual(['beta_100%']);
    expect(await names({ status: ConnectionStatus.EXPIRED })).toEqual(['expired']);
    expect(await names({ status: ConnectionStatus.MISCONFIGURED })).toEqual(['dangling']);
    expect(await names({ status: ConnectionStatus.ACTIVE })).toEqual(['alpha', 'owned']);
    expect(await names({ labels: { env: 'prod' } })).toEqual(['alpha']);
    expect(await names({ labels: { env: 'prod', team: 'y' } })).toEqual([]);
    expect(await names({ text: '0%' })).toEqual(['beta_100%']);
    expect(await names({ text: 'someone@' })).toEqual(['expired']);
    expect(await names({ text: "'; drop table connection; --" })).toEqual([]);
  });

  it('pages in every order without a gap or a repeat, and counts', async () => {
    const { connections } = await as('admin');
    for (let i = 0; i < 7; i++)
      await connections.createConnection({ name: `c${(i * 3) % 7}`, credential: bearer('t') });
    const orders = [
      ConnectionOrder.UNSPECIFIED,
      ConnectionOrder.CREATE_TIME_DESC,
      ConnectionOrder.CREATE_TIME_ASC,
      ConnectionOrder.UPDATE_TIME_DESC,
      ConnectionOrder.NAME_ASC,
    ];
    for (const order of orders) {
      const whole = await connections.listConnections({ order, pageSize: 100, withTotalSize: true });
      expect(whole.totalSize).toBe(7);
      const ids: string[] = [];
      for (let pageToken = ''; ; ) {
        const page = await connections.listConnections({ order, pageSize: 3, pageToken });
        expect(page.totalSize).toBeUndefined();
        ids.push(...page.connections.map((connection) => connection.id));
        pageToken = page.nextPageToken;
        if (!pageToken) break;
      }
      expect(ids).toEqual(whole.connections.map((connection) => connection.id));
      const skipped = await connections.listConnections({ order, skip: 5 });
      expect(skipped.connections.map((connection) => connection.id)).toEqual(ids.slice(5));
    }
  });

  it('refuses a page token that was altered or belongs to another order, filter or tenant', async () => {
    const { connections } = await as('admin');
    for (const name of ['a', 'b', 'c']) await connections.createConnection({ name, credential: bearer('t') });
    const { nextPageToken: pageToken } = await connections.listConnections({ pageSize: 1 });
    expect(pageToken).not.toBe('');
    const altered = pageToken.slice(0, -2) + (pageToken.endsWith('A') ? 'B' : 'A') + pageToken.slice(-1);
    const elsewhere = await as('admin', { tenant: 'quite-another' });
    const misuses = [
      () => connections.listConnections({ pageSize: 1, pageToken: altered }),
      () => connections.listConnections({ pageSize: 1, pageToken: 'nonsense' }),
      () => connections.listConnections({ pageSize: 1, pageToken, order: ConnectionOrder.NAME_ASC }),
      () => connections.listConnections({ pageSize: 1, pageToken, provider: 'slack' }),
      () => elsewhere.connections.listConnections({ pageSize: 1, pageToken }),
    ];
    for (const misuse of misuses)
      expect(await failureOf(misuse())).toMatchObject({ code: 'InvalidArgument', reason: 'PAGE_TOKEN_INVALID' });
    expect((await failureOf(connections.listConnections({ pageToken, skip: 1 }))).fields).toEqual(['skip']);
    expect((await failureOf(connections.listConnections({ pageSize: -1 }))).fields).toEqual(['page_size']);
  });

  it('takes 20 for no size and 100 for more', async () => {
    const { connections } = await as('admin');
    for (let i = 0; i < 102; i++) await connections.createConnection({ name: `c${i}`, credential: bearer('t') });
    expect((await connections.listConnections({})).connections).toHaveLength(20);
    expect((await connections.listConnections({ pageSize: 1000 })).connections).toHaveLength(100);
  });
});

describeRpc('Who sees a connection', ({ as, server, transport, tenant }) => {
  it('is decided by owner, project and role', async () => {
    const admin = await as('admin');
    const manager = await as('resource_manager');
    const approver = await as('approver');
    const alice = await as('requestor', { subject: 'alice' });
    const bob = await as('requestor', { subject: 'bob' });
    const hers = (await alice.connections.createConnection({ name: 'hers', credential: bearer('t') })).connection!.id;
    const shared = (await manager.connections.createConnection({ name: 'shared', credential: bearer('t') })).connection!
      .id;
    const project = (
      await manager.connections.createConnection({ name: 'project', projectId: 'p', credential: bearer('t') })
    ).connection!.id;
    const visible = async (clients: typeof admin) =>
      (await clients.connections.listConnections({ order: ConnectionOrder.NAME_ASC })).connections.map(
        (connection) => connection.name,
      );
    expect(await visible(admin)).toEqual(['hers', 'project', 'shared']);
    expect(await visible(manager)).toEqual(['project', 'shared']);
    expect(await visible(approver)).toEqual(['project', 'shared']);
    expect(await visible(alice)).toEqual(['hers', 'shared']);
    expect(await visible(bob)).toEqual(['shared']);
    for (const clients of [manager, approver, bob]) {
      expect(await failureOf(clients.connections.getConnection({ connectionId: hers }))).toMatchObject({
        reason: 'CONNECTION_NOT_FOUND',
      });
    }
    expect((await failureOf(bob.connections.getConnection({ connectionId: project }))).reason).toBe(
      'CONNECTION_NOT_FOUND',
    );
    expect((await alice.connections.getCredentials({ connectionId: hers })).headers).toHaveLength(1);
    expect(await failureOf(bob.connections.getCredentials({ connectionId: hers }))).toMatchObject({
      reason: 'CONNECTION_NOT_FOUND',
    });
    expect(await failureOf(bob.connections.getCredentials({ connectionId: shared }))).toMatchObject({
      reason: 'PERMISSION_MISSING',
      metadata: { permission: 'credential:read' },
    });
    expect(await failureOf(manager.connections.getCredentials({ connectionId: shared }))).toMatchObject({
      reason: 'PERMISSION_MISSING',
    });
    expect(await failureOf(bob.connections.updateConnection({ connectionId: shared, displayName: 'x' }))).toMatchObject(
      { reason: 'PERMISSION_MISSING' },
    );
    await failureOf(approver.connections.deleteConnection({ connectionId: shared }));
    await alice.connections.deleteConnection({ connectionId: hers });
    expect(await visible(admin)).toEqual(['project', 'shared']);
  });

  it('gives a key its projects, and the user it acts for', async () => {
    const admin = await as('admin');
    const alice = await as('requestor', { subject: 'alice' });
    const hers = (await alice.connections.createConnection({ name: 'hers', credential: bearer('hers') })).connection!
      .id;
    for (const projectId of ['', 'p', 'q'])
      await admin.connections.createConnection({ name: `in ${projectId}`, projectId, credential: bearer('t') });
    const scopes = ['connection:read', 'credential:read', 'user:act_as'];
    const { secret: key } = await admin.access.createApiKey({ displayName: 'service', scopes, projectIds: ['p'] });
    const plain = server().clients(transport, { 'x-api-key': key });
    const names = async (clients: typeof plain) =>
      (await clients.connections.listConnections({ order: ConnectionOrder.NAME_ASC })).connections.map(
        (connection) => connection.name,
      );
    expect(await names(plain)).toEqual(['in ', 'in p']);
    expect((await failureOf(plain.connections.getCredentials({ connectionId: hers }))).reason).toBe(
      'CONNECTION_NOT_FOUND',
    );
    const elsewhere = await alice.connections.createConnection({
      name: 'hers in q',
      projectId: 'q',
      credential: bearer('t'),
    });
    const userId = (await alice.access.getMe({})).user!.id;
    for (const user of [userId, 'alice']) {
      const acting = server().clients(transport, { 'x-api-key': key, 'latchkey-user': user });
      expect(await names(acting)).toEqual(['hers', 'in ', 'in p']);
      const beyond = acting.connections.getCredentials({ connectionId: elsewhere.connection!.id });
      expect((await failureOf(beyond)).reason).toBe('CONNECTION_NOT_FOUND');
      expect((await acting.connections.getCredentials({ connectionId: hers })).headers[0]?.value).toBe('Bearer hers');
      const made = await acting.connections.createConnection({ name: `by key for ${user}`, credential: bearer('t') });
      expect(made.connection?.ownerUserId).toBe(userId);
      await acting.connections.deleteConnection({ connectionId: made.connection!.id });
    }
    const unknown = server().clients(transport, { 'x-api-key': key, 'latchkey-user': 'nobody' });
    expect(await failureOf(unknown.access.getMe({}))).toMatchObject({ code: 'NotFound', reason: 'USER_NOT_FOUND' });
    const weak = await admin.access.createApiKey({ displayName: 'weak', scopes: ['connection:read'] });
    const acting = server().clients(transport, { 'x-api-key': weak.secret, 'latchkey-user': 'alice' });
    expect(await failureOf(acting.access.getMe({}))).toMatchObject({
      reason: 'PERMISSION_MISSING',
      metadata: { permission: 'user:act_as' },
    });
  });

  it('is decided for each alone where many are asked for at once, by two tenants', async () => {
    const own = await as('admin');
    const foreign = await as('admin', { tenant: `${tenant()}-foreign` });
    const make = (clients: typeof own, name: string) =>
      clients.connections.createConnection({ name, credential: bearer(name) }).then((made) => made.connection!.id);
    const names = Array.from({ length: 12 }, (_, i) => `many-${i}`);
    const [ours, theirs] = [
      await Promise.all(names.map((name) => make(own, `our ${name}`))),
      await Promise.all(names.map((name) => make(foreign, `their ${name}`))),
    ];
    const ask = (clients: typeof own, connectionId: string) =>
      clients.connections.getCredentials({ connectionId }).then(
        ({ headers }) => headers[0]!.value,
        (error) => asFailure(error).reason,
      );
    const all = [...ours, ...theirs];
    const answers = await Promise.all([own, foreign].map((clients) => Promise.all(all.map((id) => ask(clients, id)))));
    const none = names.map(() => 'CONNECTION_NOT_FOUND');
    expect(answers[0]).toEqual([...names.map((name) => `Bearer our ${name}`), ...none]);
    expect(answers[1]).toEqual([...none, ...names.map((name) => `Bearer their ${name}`)]);
  });

  it('is never another tenant: a foreign id is the same as an absent one', async () => {
    const admin = await as('admin');
    const foreign = await as('admin', { tenant: `${tenant()}-foreign` });
    const { connection } = await foreign.connections.createConnection({ name: 'foreign', credential: bearer('t') });
    const acts = (connectionId: string) => [
      admin.connections.getConnection({ connectionId }),
      admin.connections.updateConnection({ connectionId, displayName: 'x' }),
      admin.connections.deleteConnection({ connectionId }),
      admin.connections.enableConnection({ connectionId }),
      admin.connections.disableConnection({ connectionId }),
      admin.connections.getConnectionStatus({ connectionId }),
      admin.connections.getCredentials({ connectionId }),
    ];
    const known = await Promise.all(acts(connection!.id).map(failureOf));
    const absent = await Promise.all(acts(ABSENT).map(failureOf));
    const plain = (failure: (typeof known)[number], id: string) =>
      JSON.stringify(failure).replace(id, 'ID').replace(failure.metadata.request_id!, 'REQUEST');
    expect(known.map((failure) => plain(failure, connection!.id))).toEqual(
      absent.map((failure) => plain(failure, ABSENT)),
    );
    expect(new Set(known.map((failure) => failure.reason))).toEqual(new Set(['CONNECTION_NOT_FOUND']));
    expect((await foreign.connections.getConnection({ connectionId: connection!.id })).connection?.displayName).toBe(
      'foreign',
    );
  });
});

describeRpc('ConnectionService.DeleteConnection', ({ as, server }) => {
  it('deletes connection and credential', async () => {
    const { connections } = await as('admin');
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    const connectionId = connection!.id;
    await connections.getCredentials({ connectionId });
    await connections.deleteConnection({ connectionId });
    expect((await failureOf(connections.getCredentials({ connectionId }))).reason).toBe('CONNECTION_NOT_FOUND');
    expect((await failureOf(connections.deleteConnection({ connectionId }))).reason).toBe('CONNECTION_NOT_FOUND');
    expect(
      await server().database.sql('select 1 from latchkey.credential where connection_id = $1', [connectionId]),
    ).toEqual([]);
  });
});
