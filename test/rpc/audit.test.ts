import { expect, it } from 'vitest';
import { ActorKind } from '../../gen/latchkey/v1/audit_entry_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';

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
});
