import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { TimestampSchema, timestampMs } from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import { ActorKind, type AuditEntry } from '../../gen/latchkey/v1/audit_entry_pb.ts';
import type { ListAuditEntriesRequestSchema } from '../../gen/latchkey/v1/audit_service_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';

type Filter = MessageInitShape<typeof ListAuditEntriesRequestSchema>;

describeRpc('AuditService', ({ as, server, transport, tenant }) => {
  it('tells who did what to what, with before and after', async () => {
    const { connections, audit, access } = await as('admin');
    const { user } = await access.getMe({});
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    const id = connection!.id;
    await connections.updateConnection({ connectionId: id, displayName: 'New' });
    await connections.disableConnection({ connectionId: id });
    await connections.deleteConnection({ connectionId: id });
    const { entries } = await audit.listAuditEntries({ pageSize: 100 });
    const own = entries.filter((entry) => entry.resourceId === id);
    expect(own.map((entry) => entry.action)).toEqual([
      'connection_deleted',
      'connection_disabled',
      'connection_updated',
      'connection_created',
    ]);
    expect(own[2]).toMatchObject({
      actorKind: ActorKind.USER,
      actorId: user?.id,
      resourceType: 'connection',
      before: { display_name: 'c' },
      after: { display_name: 'New', credential_replaced: false },
      address: '127.0.0.1',
    });
    expect(own[2]?.requestId).toMatch(/^[0-9a-f-]{36}$/);
    expect(own[0]?.before).toMatchObject({ name: 'c' });
    expect(own[0]?.after).toBeUndefined();
    const events = await server().database.sql<{ type: string; payload: object }>(
      'select type, payload from latchkey.outbox where aggregate_id = $1 order by id',
      [id],
    );
    expect(events.map((event) => event.type)).toEqual([
      'connection.created',
      'connection.updated',
      'connection.disabled',
      'connection.deleted',
    ]);
    expect(JSON.stringify(events)).not.toContain('"t"');
  });

  it('records each credential that is handed out, and on whose behalf', async () => {
    const { connections, audit, access } = await as('admin');
    const alice = await as('requestor', { subject: 'alice' });
    const { user } = await alice.access.getMe({});
    const { connection } = await alice.connections.createConnection({ name: 'c', credential: bearer('t') });
    const { secret, apiKey } = await access.createApiKey({
      displayName: 'k',
      scopes: ['credential:read', 'user:act_as'],
    });
    const key = server().clients(transport, { 'x-api-key': secret, 'latchkey-user': 'alice' });
    await key.connections.getCredentials({ connectionId: connection!.id });
    await connections.getCredentials({ connectionId: connection!.id });
    const reads = async () =>
      (await audit.listAuditEntries({ pageSize: 100 })).entries.filter((entry) => entry.action === 'credentials_read');
    await expect.poll(async () => (await reads()).length, { timeout: 5000 }).toBe(2);
    expect((await reads())[1]).toMatchObject({
      actorKind: ActorKind.API_KEY,
      actorId: apiKey?.id,
      onBehalfOf: user?.id,
      resourceId: connection?.id,
    });
  });

  it('records what was refused', async () => {
    const { audit } = await as('admin');
    const bob = await as('requestor', { subject: 'bob' });
    await failureOf(bob.connections.getConnection({ connectionId: 'conn_00000000000000000000000000' }));
    await failureOf(bob.secrets.listSecrets({}));
    await expect
      .poll(
        async () =>
          (await audit.listAuditEntries({})).entries.filter((entry) => entry.action === 'access_refused').length,
        { timeout: 5000 },
      )
      .toBe(2);
  });

  it('is for administrators, and pages', async () => {
    const { audit, secrets } = await as('admin');
    expect((await failureOf((await as('resource_manager')).audit.listAuditEntries({}))).metadata.permission).toBe(
      'audit:read',
    );
    for (let i = 0; i < 5; i++) await secrets.createSecret({ name: `s${i}`, value: 'v' });
    const first = await audit.listAuditEntries({ pageSize: 3, withTotalSize: true });
    const second = await audit.listAuditEntries({ pageSize: 3, pageToken: first.nextPageToken });
    expect(first.totalSize).toBeGreaterThanOrEqual(6);
    expect(first.entries.map((entry) => entry.id)).toEqual(
      [...first.entries.map((entry) => entry.id)].sort().reverse(),
    );
    expect(second.entries[0]!.id < first.entries[2]!.id).toBe(true);
    const foreign = await as('admin', { tenant: `${tenant()}-x` });
    expect((await foreign.audit.listAuditEntries({})).entries.every((entry) => entry.resourceType !== 'secret')).toBe(
      true,
    );
  });

  it('finds entries by actor, action, resource, time and request, alone and joined', async () => {
    const { connections, secrets, audit, access } = await as('admin');
    const { user } = await access.getMe({});
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    const { connection: other } = await connections.createConnection({ name: 'd', credential: bearer('t') });
    await connections.disableConnection({ connectionId: connection!.id });
    await secrets.createSecret({ name: 's', value: 'v' });
    const { secret, apiKey } = await access.createApiKey({ displayName: 'k', scopes: ['secret:*', 'user:act_as'] });
    const key = { 'x-api-key': secret };
    await server().clients(transport, key).secrets.createSecret({ name: 'of_the_key', value: 'v' });
    await server()
      .clients(transport, { ...key, 'latchkey-user': 'admin' })
      .secrets.createSecret({ name: 'for_the_user', value: 'v' });

    const all = (await audit.listAuditEntries({ pageSize: 100, actionPrefix: '' })).entries;
    const find = async (filter: Filter) => {
      const { entries, totalSize, nextPageToken } = await audit.listAuditEntries({ ...filter, withTotalSize: true });
      expect(entries.length).toBe(totalSize);
      expect(nextPageToken).toBe('');
      return entries;
    };
    const cases: [Filter, (entry: AuditEntry) => boolean][] = [
      [{ actorKind: ActorKind.API_KEY }, (entry) => entry.actorKind === ActorKind.API_KEY],
      [{ actorId: apiKey!.id }, (entry) => entry.actorId === apiKey!.id],
      [{ onBehalfOf: user!.id }, (entry) => entry.onBehalfOf === user!.id],
      [{ action: 'connection_created' }, (entry) => entry.action === 'connection_created'],
      [{ actionPrefix: 'connection_' }, (entry) => entry.action.startsWith('connection_')],
      [{ resourceType: 'secret' }, (entry) => entry.resourceType === 'secret'],
      [{ resourceId: other!.id }, (entry) => entry.resourceId === other!.id],
      [{ requestId: all[1]!.requestId }, (entry) => entry.requestId === all[1]!.requestId],
      [
        { actionPrefix: 'connection_', resourceId: connection!.id, actorId: user!.id },
        (entry) => entry.action.startsWith('connection_') && entry.resourceId === connection!.id,
      ],
      [
        { actorKind: ActorKind.API_KEY, resourceType: 'secret', action: 'secret_created' },
        (entry) => entry.actorKind === ActorKind.API_KEY,
      ],
    ];
    for (const [filter, matches] of cases) {
      const expected = all.filter(matches).map(({ id }) => id);
      expect(expected.length, JSON.stringify(filter)).toBeGreaterThan(0);
      expect(
        (await find(filter)).map(({ id }) => id),
        JSON.stringify(filter),
      ).toEqual(expected);
    }
    expect(await find({ action: 'connection_created', actorKind: ActorKind.API_KEY })).toEqual([]);
    expect(await find({ actionPrefix: 'connection_created', action: 'connection_disabled' })).toEqual([]);

    const middle = all[3]!.createTime!;
    const later = await find({ startTime: middle });
    const earlier = await find({ endTime: middle, actionPrefix: 'connection_' });
    expect(later.every((entry) => timestampMs(entry.createTime!) >= timestampMs(middle))).toBe(true);
    expect(earlier.every((entry) => timestampMs(entry.createTime!) < timestampMs(middle))).toBe(true);
    expect(later.map(({ id }) => id)).toContain(all[3]!.id);
    expect(later.length + (await find({ endTime: middle })).length).toBe(all.length);
  });

  it('pages through what a filter finds, with tokens of that filter alone', async () => {
    const { secrets, audit } = await as('admin');
    for (let i = 0; i < 7; i++) await secrets.createSecret({ name: `s${i}`, value: 'v' });
    for (const filter of [{ actionPrefix: 'secret_' }, { action: 'secret_created', resourceType: 'secret' }]) {
      const ids: string[] = [];
      let pageToken = '';
      do {
        const page = await audit.listAuditEntries({ ...filter, pageSize: 3, pageToken });
        ids.push(...page.entries.map(({ id }) => id));
        pageToken = page.nextPageToken;
      } while (pageToken);
      expect(ids).toHaveLength(7);
      expect(ids).toEqual([...new Set(ids)].sort().reverse());
      const skipped = await audit.listAuditEntries({ ...filter, pageSize: 3, skip: 3 });
      expect(skipped.entries.map(({ id }) => id)).toEqual(ids.slice(3, 6));
    }
    const { nextPageToken } = await audit.listAuditEntries({ action: 'secret_created', pageSize: 3 });
    const failure = await failureOf(audit.listAuditEntries({ action: 'secret_deleted', pageToken: nextPageToken }));
    expect(failure.reason).toBe('PAGE_TOKEN_INVALID');
  });

  it('finds nothing of another tenant, whatever is asked', async () => {
    const { connections, audit } = await as('admin');
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    const resourceId = connection!.id;
    const [entry] = (await audit.listAuditEntries({ resourceId })).entries;
    const foreign = (await as('admin', { tenant: `${tenant()}-y` })).audit;
    const { actorId, requestId } = entry!;
    for (const filter of [{ resourceId }, { actorId }, { requestId }, { actionPrefix: 'connection_' }])
      expect((await foreign.listAuditEntries({ ...filter, withTotalSize: true })).totalSize).toBe(0);
  });

  it('refuses filters that cannot be', async () => {
    const { audit } = await as('admin');
    const endTime = create(TimestampSchema, { seconds: -5n });
    const wrong: Filter[] = [
      { action: 'DROP' },
      { actionPrefix: '%' },
      { resourceType: 'a b' },
      { actorKind: 9 as ActorKind },
      { endTime },
    ];
    for (const filter of wrong)
      expect((await failureOf(audit.listAuditEntries(filter))).reason, JSON.stringify(Object.keys(filter))).toBe(
        'FIELD_INVALID',
      );
  });
});
