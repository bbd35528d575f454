import type { MessageInitShape } from '@bufbuild/protobuf';
import { Webhook } from 'standardwebhooks';
import { expect, it } from 'vitest';
import { DeliveryStatus } from '../../gen/latchkey/v1/delivery_pb.ts';
import { EndpointDisabledReason } from '../../gen/latchkey/v1/event_endpoint_pb.ts';
import { type CreateEndpointRequestSchema, EndpointOrder } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import type { Clients } from '../harness/server.ts';
import { startWebhookReceiver } from '../harness/webhook-receiver.ts';

const ABSENT = `eep_${'0'.repeat(26)}`;
const URL = 'https://hooks.example.com/latchkey?t=1';
/** Nothing of it happens here, so that nothing is sent to hosts that are none. */
const QUIET = { types: ['user.roles_updated'] };

type Request = Exclude<MessageInitShape<typeof CreateEndpointRequestSchema>, { $typeName: string }>;

describeRpc('WebhookService, endpoints', ({ as, server, tenant }) => {
  const newEndpoint = async ({ webhooks }: Clients, other: Request = {}) =>
    (await webhooks.createEndpoint({ url: URL, eventTypes: QUIET, ...other })).endpoint!;
  const failureOfNew = (clients: Clients, other: Request) => failureOf(newEndpoint(clients, other));

  it('makes an endpoint, and answers its secret once', async () => {
    const clients = await as('resource_manager');
    const { endpoint, secret } = await clients.webhooks.createEndpoint({
      ...{ url: URL, description: 'the indexer', projectId: 'p1', filter: 'event.type != "a.b"' },
      ...{ eventTypes: { types: ['connection.*', 'connection.*', 'integration.enabled'] } },
      headers: { headers: { Authorization: 'Bearer verysecret' } },
    });
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(endpoint).toMatchObject({
      ...{ url: URL, description: 'the indexer', projectId: 'p1', enabled: true, ownedEvents: false },
      ...{ eventTypes: ['connection.*', 'integration.enabled'], headerNames: ['Authorization'] },
      disabledReason: EndpointDisabledReason.UNSPECIFIED,
    });
    expect((await clients.webhooks.getEndpoint({ endpointId: endpoint!.id })).endpoint).toEqual(endpoint);
    const [row] = await server().database.sql<{ row: string }>(
      'select e::text as row from latchkey.event_endpoint e where id = $1',
      [endpoint!.id],
    );
    const entries = await (await as('admin')).audit.listAuditEntries({});
    const events = await server().database.sql('select * from latchkey.outbox where aggregate_id = $1', [endpoint!.id]);
    expect(events).toMatchObject([{ type: 'event_endpoint.created', project_id: 'p1', generation: 1 }]);
    for (const shown of [row!.row, entries.entries, events, server().logLines]) {
      const text = JSON.stringify(shown, (_, value) => (typeof value === 'bigint' ? String(value) : value));
      for (const hidden of [secret, 'verysecret']) expect(text).not.toContain(hidden);
    }
    expect(JSON.stringify([events, server().logLines])).not.toContain('/latchkey?t=1');
  });

  it('makes one endpoint for a request that is repeated, and shows its secret to the first', async () => {
    const { webhooks } = await as('resource_manager');
    const request = { url: URL, eventTypes: QUIET, requestId: 'r1' };
    const first = await webhooks.createEndpoint(request);
    const second = await webhooks.createEndpoint(request);
    expect(second).toMatchObject({ secret: '', endpoint: { id: first.endpoint!.id } });
    const other = { ...request, description: 'another' };
    expect(await failureOf(webhooks.createEndpoint(other))).toMatchObject({ reason: 'REQUEST_ID_REUSED' });
  });

  it('refuses addresses that nobody may reach, and http to others than the operator names', async () => {
    const clients = await as('resource_manager');
    for (const host of [
      '10.0.0.1',
      '169.254.169.254',
      '2130706434.0x1',
      '[::ffff:10.0.0.1]',
      '0xa000001',
      '[fd00::1]',
    ]) {
      const failure = await failureOfNew(clients, { url: `https://${host}/x` });
      expect(failure.reason, host).toMatch(/^(ADDRESS_FORBIDDEN|FIELD_INVALID)$/);
    }
    const metadata = 'https://169.254.169.254/latest';
    expect(await failureOfNew(clients, { url: metadata })).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
    const ours = `http://127.0.0.1:${server().replica.httpPort}/`;
    expect(await failureOfNew(clients, { url: ours })).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
    for (const url of ['http://hooks.example.com/', 'http://8.8.8.8/', 'https://u:p@hooks.example.com/'])
      expect(await failureOfNew(clients, { url }), url).toMatchObject({ reason: 'FIELD_INVALID', fields: ['url'] });
    await newEndpoint(clients, { url: 'http://localhost:9999/' });
    const { id } = await newEndpoint(clients);
    const moved = clients.webhooks.updateEndpoint({ endpointId: id, url: metadata });
    expect(await failureOf(moved)).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
  });

  it('refuses types that do not exist, filters that cannot be, and headers that are not the caller’s', async () => {
    const clients = await as('resource_manager');
    const wrong: [Request, string][] = [
      [{ eventTypes: { types: ['connection.created', 'connection.creatd'] } }, 'event_types.types[1]'],
      [{ eventTypes: { types: ['nothing.*'] } }, 'event_types.types[0]'],
      [{ filter: 'event.type ==' }, 'filter'],
      [{ filter: 'tenant == "t"' }, 'filter'],
      [{ filter: '[1, 2].exists(x, x == 1)' }, 'filter'],
      [{ headers: { headers: { 'Content-Type': 'text/plain' } } }, 'headers.headers["content-type"]'],
      [{ headers: { headers: { 'webhook-id': 'x' } } }, 'headers.headers["webhook-id"]'],
      [{ headers: { headers: { Host: 'x' } } }, 'headers.headers["host"]'],
      [{ headers: { headers: { a: 'x', A: 'y' } } }, 'headers.headers["a"]'],
    ];
    for (const [request, field] of wrong)
      expect(await failureOfNew(clients, request), field).toMatchObject({ reason: 'FIELD_INVALID', fields: [field] });
    for (const request of [{ url: 'ftp://a' }, { eventTypes: { types: ['*'] } }, { filter: 'x'.repeat(1001) }])
      expect(await failureOfNew(clients, request)).toMatchObject({ code: 'InvalidArgument' });
  });

  it('is for who manages webhooks and reads events, and shows nobody what is not theirs', async () => {
    const manager = await as('resource_manager');
    const { id: endpointId } = await newEndpoint(manager);
    for (const role of ['approver', 'requestor'] as const) {
      const { webhooks } = await as(role);
      expect(await failureOf(webhooks.createEndpoint({ url: URL }))).toMatchObject({ reason: 'PERMISSION_MISSING' });
    }
    const { webhooks: requestors } = await as('requestor');
    expect((await requestors.listEndpoints({})).endpoints).toEqual([]);
    const { webhooks: others } = await as('admin', { tenant: `${tenant()}-other` });
    for (const webhooks of [requestors, others]) {
      const calls = (id: string) => [
        webhooks.getEndpoint({ endpointId: id }),
        webhooks.updateEndpoint({ endpointId: id, enabled: false }),
        webhooks.deleteEndpoint({ endpointId: id }),
        webhooks.rotateEndpointSecret({ endpointId: id }),
        webhooks.sendTestEvent({ endpointId: id }),
        webhooks.listEndpointDeliveries({ endpointId: id }),
        webhooks.replayEvents({ endpointId: id, since: { seconds: 1n } }),
      ];
      const absent = await Promise.all(calls(ABSENT).map(failureOf));
      const foreign = await Promise.all(calls(endpointId).map(failureOf));
      for (const failure of absent) expect(failure.reason).toBe('EVENT_ENDPOINT_NOT_FOUND');
      const own = (failures: typeof absent) => JSON.stringify(failures, (key, v) => (/request_id/.test(key) ? '' : v));
      expect(own(foreign).replaceAll(endpointId, ABSENT)).toBe(own(absent));
    }
    const { text } = await keyWith(['webhook:manage', 'webhook:read']);
    const { webhooks: withoutEvents } = server().clients('grpc', { authorization: `Bearer ${text}` });
    for (const call of [
      withoutEvents.createEndpoint({ url: URL }),
      withoutEvents.updateEndpoint({ endpointId, url: 'https://elsewhere.example.com' }),
    ])
      expect(await failureOf(call)).toMatchObject({
        reason: 'PERMISSION_MISSING',
        metadata: { permission: 'event:read' },
      });
  });

  it('keeps a key that is limited to projects to the endpoints of these', async () => {
    const manager = await as('resource_manager');
    const [one, two, all] = await Promise.all(['p1', 'p2', ''].map((projectId) => newEndpoint(manager, { projectId })));
    const { text } = await keyWith(['webhook:*', 'event:read'], ['p1']);
    const clients = server().clients('grpc', { authorization: `Bearer ${text}` });
    const listed = await clients.webhooks.listEndpoints({ order: EndpointOrder.CREATE_TIME_ASC });
    expect(listed.endpoints.map(({ id }) => id).sort()).toEqual([one!.id, all!.id].sort());
    const { webhooks } = clients;
    expect(await failureOf(webhooks.getEndpoint({ endpointId: two!.id }))).toMatchObject({ code: 'NotFound' });
    expect(await failureOfNew(clients, { projectId: 'p2' })).toMatchObject({ reason: 'FIELD_INVALID' });
  });

  it('pages, newest first and by project', async () => {
    const manager = await as('resource_manager');
    const { webhooks } = manager;
    const ids: string[] = [];
    for (const projectId of ['', 'p1', '']) ids.unshift((await newEndpoint(manager, { projectId })).id);
    const first = await webhooks.listEndpoints({ pageSize: 2, withTotalSize: true });
    expect(first).toMatchObject({ totalSize: 3 });
    const second = await webhooks.listEndpoints({ pageSize: 2, pageToken: first.nextPageToken });
    expect([...first.endpoints, ...second.endpoints].map(({ id }) => id)).toEqual(ids);
    expect((await webhooks.listEndpoints({ projectId: 'p1' })).endpoints).toHaveLength(1);
    expect((await webhooks.listEndpoints({ projectId: '' })).endpoints).toHaveLength(2);
  });

  it('changes what is set, and takes what was given for one host to no other', async () => {
    const manager = await as('resource_manager');
    const { id: endpointId, etag } = await newEndpoint(manager, { headers: { headers: { 'x-key': 'k' } } });
    const update = (patch: object) => manager.webhooks.updateEndpoint({ endpointId, ...patch });
    const elsewhere = { url: 'https://elsewhere.example.com/' };
    expect(await failureOf(update(elsewhere))).toMatchObject({ reason: 'FIELD_INVALID', fields: ['headers'] });
    const { endpoint } = await update({ ...elsewhere, headers: { headers: {} }, filter: 'true', enabled: false, etag });
    expect(endpoint).toMatchObject({
      ...{ url: 'https://elsewhere.example.com/', headerNames: [], filter: 'true', enabled: false },
      disabledReason: EndpointDisabledReason.CALLER,
    });
    expect(await failureOf(update({ filter: '', etag }))).toMatchObject({ reason: 'ETAG_MISMATCH' });
    const replay = { endpointId, since: { seconds: 1n } };
    expect(await failureOf(manager.webhooks.replayEvents(replay))).toMatchObject({ reason: 'EVENT_ENDPOINT_DISABLED' });
    expect((await update({ enabled: true })).endpoint).toMatchObject({ enabled: true, disabledReason: 0 });
    const { webhooks } = await as('admin');
    expect((await webhooks.updateEndpoint({ endpointId, description: 'x' })).endpoint?.ownedEvents).toBe(false);
    expect((await webhooks.updateEndpoint({ endpointId, url: URL })).endpoint?.ownedEvents).toBe(true);
    await manager.webhooks.deleteEndpoint({ endpointId });
    expect(await failureOf(update({}))).toMatchObject({ reason: 'EVENT_ENDPOINT_NOT_FOUND' });
  });

  it('lets nobody choose where and what of an endpoint that is told more than they may see', async () => {
    const [admin, manager] = [await as('admin'), await as('resource_manager')];
    const { id: ofAdmin } = await newEndpoint(admin);
    const { id: ofManager } = await newEndpoint(manager);
    const [wide, narrow, other] = await Promise.all(
      [[], ['p1'], ['p2']].map(async (projectIds) => {
        const { text } = await keyWith(['webhook:*', 'event:read', 'connection:read'], projectIds);
        return server().clients('grpc', { authorization: `Bearer ${text}` });
      }),
    );
    const { id: ofNarrow } = await newEndpoint(narrow!);
    const patches = [
      ...[{ url: URL }, { eventTypes: QUIET }, { filter: 'event.data.payload.name < "m"' }],
      ...[{ includeInboundContent: true }, { headers: { headers: { 'X-Own': 'v' } } }],
    ];
    const refused: [Clients, string][] = [
      ...[manager, wide!, narrow!].map((clients): [Clients, string] => [clients, ofAdmin]),
      ...[wide!, narrow!].map((clients): [Clients, string] => [clients, ofManager]),
      [other!, ofNarrow],
    ];
    for (const [{ webhooks }, endpointId] of refused) {
      for (const patch of patches)
        expect(await failureOf(webhooks.updateEndpoint({ endpointId, ...patch }))).toMatchObject({
          ...{ code: 'PermissionDenied', reason: 'EVENT_ENDPOINT_AUDIENCE_WIDER' },
          metadata: { endpoint_id: endpointId },
        });
      expect(await failureOf(webhooks.rotateEndpointSecret({ endpointId }))).toMatchObject({
        reason: 'EVENT_ENDPOINT_AUDIENCE_WIDER',
      });
      await webhooks.updateEndpoint({ endpointId, description: 'ours', enabled: true });
    }
    const permitted: [Clients, string][] = [
      ...[ofAdmin, ofManager, ofNarrow].map((id): [Clients, string] => [admin, id]),
      [wide!, await newEndpoint(narrow!).then(({ id }) => id)],
    ];
    for (const [{ webhooks }, endpointId] of permitted)
      for (const patch of patches) await webhooks.updateEndpoint({ endpointId, ...patch });
  });

  it('sends a test event once, signed, whatever comes of it', async () => {
    let tests = 0;
    await using receiver = await startWebhookReceiver((_, { body }) => ({
      status: body.includes('.test') && ++tests > 1 ? 410 : 204,
    }));
    const manager = await as('resource_manager');
    const { webhooks } = manager;
    const headers = { headers: { authorization: 'Bearer of-ours' } };
    const { endpoint, secret } = await webhooks.createEndpoint({ url: receiver.url, headers });
    const endpointId = endpoint!.id;
    const { delivery } = await webhooks.sendTestEvent({ endpointId });
    expect(delivery).toMatchObject({ status: DeliveryStatus.SUCCEEDED, endpointId, signed: true, maxAttempts: 1 });
    const [test] = receiver.received.filter(({ body }) => body.includes('event_endpoint.test'));
    const verified = new Webhook(secret).verify(test!.body, test!.headers as Record<string, string>);
    expect(verified).toMatchObject({ type: 'event_endpoint.test', data: { id: delivery!.eventId } });
    expect(test!.headers).toMatchObject({ authorization: 'Bearer of-ours', 'webhook-id': delivery!.eventId });
    await webhooks.updateEndpoint({ endpointId, enabled: false });
    const again = await webhooks.sendTestEvent({ endpointId });
    expect(again.delivery).toMatchObject({ status: DeliveryStatus.FAILED, error: 'status' });
    const listed = await webhooks.listEndpointDeliveries({ endpointId });
    expect(listed.deliveries.map(({ id }) => id)).toEqual(expect.arrayContaining([delivery!.id, again.delivery!.id]));
    const failed = await webhooks.listEndpointDeliveries({ endpointId, status: DeliveryStatus.FAILED });
    expect(failed.deliveries.some(({ id }) => id === delivery!.id)).toBe(false);
  });

  it('makes no more endpoints than a tenant may have', async () => {
    const manager = await as('resource_manager');
    const made = await Promise.allSettled(Array.from({ length: 53 }, () => newEndpoint(manager)));
    expect(made.filter(({ status }) => status === 'fulfilled')).toHaveLength(50);
    expect(await failureOfNew(manager, {})).toMatchObject({ reason: 'EVENT_ENDPOINT_LIMIT_REACHED' });
  });

  async function keyWith(scopes: string[], projectIds: string[] = []): Promise<{ text: string }> {
    const { access } = await as('admin');
    return { text: (await access.createApiKey({ displayName: 'k', scopes, projectIds })).secret };
  }
});
