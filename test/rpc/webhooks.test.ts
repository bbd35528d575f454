import { create, fromJson, type JsonValue, toJsonString } from '@bufbuild/protobuf';
import { type Value, ValueSchema } from '@bufbuild/protobuf/wkt';
import { Webhook } from 'standardwebhooks';
import { expect, it } from 'vitest';
import { DeliverySchema, DeliveryStatus } from '../../gen/latchkey/v1/delivery_pb.ts';
import { WebhookMethod, WebhookMode } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import { startWebhookReceiver } from '../harness/webhook-receiver.ts';

const json = (value: JsonValue): Value => fromJson(ValueSchema, value);
const SECRETS = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'whsec_bmV3IHNlY3JldCBvZiB0aGlydHktdHdvIGJ5dGVz'] as const;

describeRpc('WebhookService.SendWebhook', ({ as, tenant, server, transport }) => {
  it('fills in body, headers and URL, and answers the outcome', async () => {
    await using receiver = await startWebhookReceiver();
    const { webhooks } = await as('resource_manager');
    const { delivery } = await webhooks.sendWebhook({
      url: `${receiver.url}/orders/{{order.id}}?who={{name}}`,
      method: WebhookMethod.PUT,
      headers: { 'X-Order': 'no. {{order.id}}', Authorization: 'Bearer own' },
      body: json({ id: '{{order.id}}', lines: '{{order.lines}}', text: 'for {{name}}', open: true }),
      variables: { order: { id: 'a/b', lines: [1, 2.5] }, name: 'A & "B"\n' },
    });
    expect(delivery).toMatchObject({
      status: DeliveryStatus.SUCCEEDED,
      host: `127.0.0.1:${receiver.port}`,
      method: 'PUT',
      error: '',
      maxAttempts: 3,
      timeoutMs: 8000,
    });
    expect(delivery?.attempts).toMatchObject([{ statusCode: 204, error: '' }]);
    const [got] = receiver.received;
    expect(got).toMatchObject({ method: 'PUT', url: '/orders/a%2Fb?who=A%20%26%20%22B%22%0A' });
    expect(got?.headers).toMatchObject({
      'x-order': 'no. a/b',
      authorization: 'Bearer own',
      'content-type': 'application/json',
      'webhook-id': delivery!.id,
    });
    expect(got?.headers['webhook-signature']).toBeUndefined();
    expect(JSON.parse(got!.body)).toEqual({ id: 'a/b', lines: [1, 2.5], text: 'for A & "B"\n', open: true });
  });

  it('names an unknown variable, wherever it is', async () => {
    const { webhooks } = await as('resource_manager');
    const url = 'http://127.0.0.1:1/';
    const wrong = [
      { url, body: json({ a: ['{{customer.name}}'] }) },
      { url: `${url}{{customer.name}}` },
      { url, headers: { 'X-A': '{{customer.name}}' } },
    ];
    for (const request of wrong)
      expect((await failureOf(webhooks.sendWebhook({ ...request, variables: { customer: {} } }))).fields).toEqual([
        'variables["customer.name"]',
      ]);
    expect((await failureOf(webhooks.sendWebhook({ url, condition: 'total > 1' }))).fields).toEqual([
      'variables["total"]',
    ]);
    expect((await webhooks.listDeliveries({})).deliveries).toEqual([]);
  });

  it('sends nothing where the condition does not hold, and keeps that', async () => {
    await using receiver = await startWebhookReceiver();
    const { webhooks } = await as('resource_manager');
    const request = { url: receiver.url, condition: 'totalAmount > 10000', requestId: 'r' };
    const skipped = await webhooks.sendWebhook({ ...request, variables: { totalAmount: 9_999.5 } });
    expect(skipped.delivery).toMatchObject({ status: DeliveryStatus.SKIPPED, attempts: [] });
    const sent = await webhooks.sendWebhook({ ...request, requestId: 's', variables: { totalAmount: 12_000 } });
    expect(sent.delivery?.status).toBe(DeliveryStatus.SUCCEEDED);
    expect(receiver.received).toHaveLength(1);
    const { delivery } = await webhooks.getDelivery({ deliveryId: skipped.delivery!.id });
    expect(delivery).toMatchObject({ status: DeliveryStatus.SKIPPED, host: `127.0.0.1:${receiver.port}` });
    for (const condition of ['totalAmount >', 'totalAmount', 'totalAmount > "a"'])
      expect(
        (await failureOf(webhooks.sendWebhook({ ...request, requestId: '', condition, variables: { totalAmount: 1 } })))
          .fields,
      ).toEqual(['condition']);
  });

  it('tries again with the same id and a fresh signature, and both secrets sign while one is replaced', async () => {
    await using receiver = await startWebhookReceiver((n) => ({ status: n === 0 ? 503 : 200, body: 'thanks' }));
    const { connections, webhooks } = await as('admin');
    const made = await connections.createConnection({
      name: 'target',
      credential: bearer('sk_1'),
      baseUrl: `${receiver.url}/hooks`,
      defaultHeaders: { entries: { 'X-Default': 'd', 'Webhook-Id': 'forged' } },
      webhookSignatureSecret: SECRETS[0],
    });
    const connectionId = made.connection!.id;
    const updated = await connections.updateConnection({ connectionId, webhookSignatureSecret: SECRETS[1] });
    expect(updated.connection?.previousWebhookSecretExpireTime).toBeDefined();
    const request = { connectionId, path: '/in?x=1', body: json({ n: '{{n}}' }), variables: { n: 1 }, sign: true };
    const { delivery } = await webhooks.sendWebhook({ ...request, backoffMs: 1_300 });
    expect(delivery).toMatchObject({ status: DeliveryStatus.SUCCEEDED, connectionId, signed: true });
    expect(delivery?.attempts.map(({ statusCode, error }) => [statusCode, error])).toEqual([
      [503, 'status'],
      [200, ''],
    ]);
    const [first, second] = receiver.received;
    expect(second).toMatchObject({ url: '/hooks/in?x=1', headers: { authorization: 'Bearer sk_1', 'x-default': 'd' } });
    expect(second!.time - first!.time).toBeGreaterThanOrEqual(1_040);
    for (const { headers, body } of [first!, second!]) {
      expect(headers['webhook-id']).toBe(delivery!.id);
      for (const secret of SECRETS)
        expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toEqual({ n: 1 });
      expect(() => new Webhook(SECRETS[0]).verify(`${body} `, headers as Record<string, string>)).toThrow();
    }
    expect(first?.headers['webhook-timestamp']).not.toBe(second?.headers['webhook-timestamp']);

    await connections.updateConnection({ connectionId, webhookSignatureSecret: SECRETS[0], webhookSecretOverlapS: 0 });
    await webhooks.sendWebhook(request);
    const last = receiver.received.at(-1)!;
    expect(new Webhook(SECRETS[0]).verify(last.body, last.headers as Record<string, string>)).toEqual({ n: 1 });
    expect(() => new Webhook(SECRETS[1]).verify(last.body, last.headers as Record<string, string>)).toThrow();
  });

  it('calls only 2xx success: redirects are not followed, 4xx end it, 5xx do after the attempts', async () => {
    const { webhooks } = await as('resource_manager');
    const outcome = async (status: number, headers: Record<string, string> = {}) => {
      await using receiver = await startWebhookReceiver(() => ({ status, headers }));
      const { delivery } = await webhooks.sendWebhook({ url: receiver.url, attempts: 2, backoffMs: 10 });
      expect(delivery).toMatchObject({ status: DeliveryStatus.FAILED, error: 'status' });
      return receiver.received.length;
    };
    expect(await outcome(302, { location: 'http://127.0.0.1:1/' })).toBe(1);
    for (const status of [400, 401, 404, 410]) expect(await outcome(status), String(status)).toBe(1);
    for (const status of [408, 425, 429, 500, 503]) expect(await outcome(status), String(status)).toBe(2);
    const { delivery } = await webhooks.sendWebhook({ url: 'http://127.0.0.1:1/', attempts: 2, backoffMs: 10 });
    expect(delivery).toMatchObject({ status: DeliveryStatus.FAILED, error: 'connect' });
    expect(delivery?.attempts).toHaveLength(2);
    await using silent = await startWebhookReceiver(() => null);
    const slow = await webhooks.sendWebhook({ url: silent.url, attempts: 1, timeoutMs: 100 });
    expect(slow.delivery).toMatchObject({ status: DeliveryStatus.FAILED, error: 'timeout' });
    const events = await server().database.sql(
      `select type, payload from latchkey.outbox where tenant_id = $1 and aggregate_id = $2`,
      [tenant(), slow.delivery!.id],
    );
    expect(events).toMatchObject([{ type: 'webhook.failed', payload: { error: 'timeout', attempts: 1 } }]);
  });

  it('waits as long as Retry-After says', async () => {
    await using receiver = await startWebhookReceiver((n) => ({
      status: n === 0 ? 429 : 200,
      headers: { 'retry-after': '1' },
    }));
    const { webhooks } = await as('resource_manager');
    const { delivery } = await webhooks.sendWebhook({ url: receiver.url, backoffMs: 10 });
    expect(delivery?.status).toBe(DeliveryStatus.SUCCEEDED);
    expect(receiver.received[1]!.time - receiver.received[0]!.time).toBeGreaterThanOrEqual(1_000);
  });

  it('retries what failed for good, under the same id, one or all', async () => {
    await using receiver = await startWebhookReceiver((n) => ({ status: n < 3 ? 500 : 200 }));
    const { webhooks } = await as('resource_manager');
    const ids: string[] = [];
    for (const n of [1, 2, 3]) {
      const sent = await webhooks.sendWebhook({ url: receiver.url, attempts: 1, body: json(n) });
      ids.push(sent.delivery!.id);
    }
    const settled = async (deliveryId: string) => {
      const { delivery } = await webhooks.getDelivery({ deliveryId });
      return [delivery?.status, delivery?.attempts.map(({ statusCode }) => statusCode)];
    };
    const [deliveryId = ''] = ids;
    expect((await webhooks.retryDelivery({ deliveryId })).delivery?.status).toBe(DeliveryStatus.PENDING);
    await expect.poll(() => settled(deliveryId), { timeout: 5_000 }).toEqual([DeliveryStatus.SUCCEEDED, [500, 200]]);
    expect(await failureOf(webhooks.retryDelivery({ deliveryId }))).toMatchObject({
      code: 'FailedPrecondition',
      reason: 'DELIVERY_NOT_FAILED',
      metadata: { delivery_id: deliveryId, status: 'SUCCEEDED' },
    });
    const host = `127.0.0.1:${receiver.port}`;
    expect(await webhooks.retryDeliveries({ host: 'elsewhere' })).toMatchObject({ count: 0, more: false });
    expect(await webhooks.retryDeliveries({ host })).toMatchObject({ count: 2, more: false });
    for (const id of ids)
      await expect.poll(() => settled(id), { timeout: 5_000 }).toEqual([DeliveryStatus.SUCCEEDED, [500, 200]]);
    expect(receiver.received.slice(3).map(({ headers }) => headers['webhook-id'])).toEqual(expect.arrayContaining(ids));
  });

  it('accepts at once where nobody waits, and answers one delivery for a repeated request_id', async () => {
    await using receiver = await startWebhookReceiver();
    const { webhooks } = await as('resource_manager');
    const request = {
      url: receiver.url,
      mode: WebhookMode.FIRE_AND_FORGET,
      requestId: 'r-1',
      body: json('{{x}}'),
      variables: { x: 1 },
    };
    const [first, second] = await Promise.all([webhooks.sendWebhook(request), webhooks.sendWebhook(request)]);
    expect(first.delivery?.id).toBe(second.delivery?.id);
    await expect.poll(() => receiver.received.length).toBe(1);
    expect(await failureOf(webhooks.sendWebhook({ ...request, variables: { x: 2 } }))).toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    const repeated = await webhooks.sendWebhook(request);
    expect(repeated.delivery?.id).toBe(first.delivery?.id);
    expect(receiver.received).toHaveLength(1);
  });

  it('keeps the connection’s credential on its hosts, and ends what a disabled connection was to send', async () => {
    await using receiver = await startWebhookReceiver(() => ({ status: 503 }));
    const { connections, webhooks } = await as('admin');
    const { connection } = await connections.createConnection({
      name: 'c',
      credential: bearer('t'),
      baseUrl: receiver.url,
    });
    const connectionId = connection!.id;
    expect(await failureOf(webhooks.sendWebhook({ connectionId, path: 'http://127.0.0.1:1/' }))).toMatchObject({
      reason: 'HOST_NOT_ALLOWED',
    });
    for (const path of ['/{{x}}/b', '//evil', '/../b'])
      expect((await failureOf(webhooks.sendWebhook({ connectionId, path, variables: { x: '..' } }))).fields).toEqual([
        'path',
      ]);
    for (const name of ['Authorization', 'Cookie', 'Host', 'Content-Length', 'webhook-id', 'Proxy-X'])
      expect((await failureOf(webhooks.sendWebhook({ connectionId, headers: { [name]: 'x' } }))).fields).toEqual([
        `headers["${name}"]`,
      ]);
    expect(await failureOf(webhooks.sendWebhook({ connectionId, sign: true }))).toMatchObject({
      reason: 'WEBHOOK_SECRET_MISSING',
      metadata: { connection_id: connectionId },
    });
    const request = { connectionId, attempts: 10, backoffMs: 200, mode: WebhookMode.FIRE_AND_FORGET };
    const { delivery } = await webhooks.sendWebhook(request);
    await expect.poll(() => receiver.received.length).toBeGreaterThan(0);
    await connections.disableConnection({ connectionId });
    await expect
      .poll(async () => (await webhooks.getDelivery({ deliveryId: delivery!.id })).delivery, { timeout: 5_000 })
      .toMatchObject({ status: DeliveryStatus.FAILED, error: 'CONNECTION_DISABLED' });
    expect(await failureOf(webhooks.sendWebhook(request))).toMatchObject({ reason: 'CONNECTION_DISABLED' });
  });

  it('refuses what could not be sent', async () => {
    const { webhooks } = await as('resource_manager');
    const fields = async (request: Parameters<typeof webhooks.sendWebhook>[0]) =>
      (await failureOf(webhooks.sendWebhook(request))).fields;
    expect(await fields({})).toEqual(['url']);
    expect(await fields({ url: 'https://a.example', connectionId: `conn_${'0'.repeat(26)}` })).toEqual(['url']);
    expect(await fields({ url: 'https://a.example', path: '/x' })).toEqual(['path']);
    expect(await fields({ url: 'https://user@a.example' })).toEqual(['url']);
    expect(await fields({ url: 'ftp://a.example' })).toEqual(['url']);
    expect(
      await fields({ url: 'https://a.example', headers: { 'X-A': '{{x}}' }, variables: { x: 'a\r\nX-B: c' } }),
    ).toEqual(['headers["X-A"]']);
    expect(await fields({ url: 'https://a.example', body: json('x'.repeat(300_000)) })).toEqual(['body']);
    // The other transports' clients send no such thing.
    if (transport === 'grpc')
      expect(await fields({ url: 'https://a.example', body: create(ValueSchema) })).toEqual(['body']);
    expect(await fields({ url: 'https://a.example', sign: true })).toEqual(['sign']);
    expect(await failureOf(webhooks.sendWebhook({ url: 'http://169.254.169.254/latest' }))).toMatchObject({
      reason: 'ADDRESS_FORBIDDEN',
    });
    expect(await failureOf(webhooks.sendWebhook({ url: server().httpUrl }))).toMatchObject({
      reason: 'ADDRESS_FORBIDDEN',
    });
  });

  it('shows a delivery to who may see it alone', async () => {
    await using receiver = await startWebhookReceiver();
    const mine = await as('requestor', { subject: 'anna' });
    const { delivery } = await mine.webhooks.sendWebhook({ url: receiver.url });
    const deliveryId = delivery!.id;
    const absent = `dlv_${'0'.repeat(26)}`;
    const others = [
      await as('requestor', { subject: 'bert' }),
      await as('resource_manager', { subject: 'carl' }),
      await as('admin', { tenant: `${tenant()}-other` }),
    ];
    for (const { webhooks } of others) {
      for (const ask of [webhooks.getDelivery, webhooks.retryDelivery]) {
        const [foreign, none] = [await failureOf(ask({ deliveryId })), await failureOf(ask({ deliveryId: absent }))];
        expect(foreign).toMatchObject({ code: 'NotFound', reason: 'DELIVERY_NOT_FOUND' });
        expect({ ...foreign, metadata: {} }).toEqual({ ...none, metadata: {} });
      }
      expect((await webhooks.listDeliveries({})).deliveries).toEqual([]);
    }
    const admin = await as('admin');
    expect((await admin.webhooks.getDelivery({ deliveryId })).delivery?.ownerUserId).toMatch(/^user_/);
    expect((await mine.webhooks.listDeliveries({})).deliveries).toHaveLength(1);
    const { webhooks } = await as('approver');
    expect((await webhooks.listDeliveries({})).deliveries).toEqual([]);
    const manager = await as('resource_manager');
    const shared = await manager.webhooks.sendWebhook({ url: receiver.url });
    expect((await failureOf(mine.webhooks.getDelivery({ deliveryId: shared.delivery!.id }))).reason).toBe(
      'DELIVERY_NOT_FOUND',
    );
  });

  it('takes of a key what it may do, and no more', async () => {
    await using receiver = await startWebhookReceiver((n) => ({ status: n === 0 ? 400 : 200 }));
    const { access } = await as('admin');
    const keyWith = async (...scopes: string[]) => {
      const { secret } = await access.createApiKey({ displayName: scopes.join(' '), scopes });
      return server().clients(transport, { authorization: `Bearer ${secret}` }).webhooks;
    };
    const sender = await keyWith('webhook:send');
    const { delivery } = await sender.sendWebhook({ url: receiver.url });
    const deliveryId = delivery!.id;
    expect(delivery?.status).toBe(DeliveryStatus.FAILED);
    expect((await failureOf(sender.getDelivery({ deliveryId }))).metadata).toMatchObject({
      permission: 'webhook:read',
    });
    const reader = await keyWith('webhook:read');
    expect((await reader.getDelivery({ deliveryId })).delivery?.id).toBe(deliveryId);
    for (const refused of [reader.retryDelivery({ deliveryId }), reader.sendWebhook({ url: receiver.url })])
      expect(await failureOf(refused)).toMatchObject({
        reason: 'PERMISSION_MISSING',
        metadata: { permission: 'webhook:send' },
      });
    expect((await sender.retryDelivery({ deliveryId })).delivery?.status).toBe(DeliveryStatus.PENDING);
  });

  it('lists by status, host and time, page by page', async () => {
    await using well = await startWebhookReceiver();
    const { webhooks } = await as('resource_manager');
    for (let i = 0; i < 5; i++) await webhooks.sendWebhook({ url: well.url });
    await webhooks.sendWebhook({ url: 'http://127.0.0.1:1/', attempts: 1 });
    const first = await webhooks.listDeliveries({ pageSize: 4, withTotalSize: true });
    expect([first.deliveries.length, first.totalSize]).toEqual([4, 6]);
    const second = await webhooks.listDeliveries({ pageSize: 4, pageToken: first.nextPageToken });
    expect([second.deliveries.length, second.nextPageToken]).toEqual([2, '']);
    const ids = [...first.deliveries, ...second.deliveries].map(({ id }) => id);
    expect(ids).toEqual(ids.toSorted().reverse());
    expect(
      (await webhooks.listDeliveries({ status: DeliveryStatus.FAILED })).deliveries.map(({ host }) => host),
    ).toEqual(['127.0.0.1:1']);
    expect((await webhooks.listDeliveries({ host: `127.0.0.1:${well.port}` })).deliveries).toHaveLength(5);
    const { createTime } = first.deliveries[0]!;
    expect((await webhooks.listDeliveries({ createdBefore: createTime! })).deliveries.length).toBeGreaterThan(3);
    expect(
      (await webhooks.listDeliveries({ createdFrom: { seconds: createTime!.seconds + 60n, nanos: 0 } })).deliveries,
    ).toEqual([]);
  });

  it('keeps what is sent out of log, audit, events and answers, and sealed in the database', async () => {
    const { webhooks, audit } = await as('admin');
    const { delivery } = await webhooks.sendWebhook({
      url: 'http://127.0.0.1:1/canary-u?x=canary-q',
      headers: { 'X-Token': 'canary-h' },
      body: json({ a: 'canary-b {{v}}' }),
      variables: { v: 'canary-v' },
      condition: 'v != "canary-c"',
      attempts: 1,
    });
    const { entries } = await audit.listAuditEntries({});
    expect(entries.map(({ action }) => action)).toContain('webhook_sent');
    const rows = await server().database.sql(
      `select d::text as row from latchkey.delivery d where id = $1 union all select o::text from latchkey.outbox o union all select a::text from latchkey.audit_entry a`,
      [delivery!.id],
    );
    const seen = [server().logLines.join(''), JSON.stringify(rows), toJsonString(DeliverySchema, delivery!)];
    expect(seen.join('')).not.toContain('canary-');
    expect(seen.join('')).not.toContain(Buffer.from('canary-').toString('hex'));
    await using receiver = await startWebhookReceiver();
    await webhooks.sendWebhook({ url: receiver.url });
    const kept = await server().database.sql(
      `select status from latchkey.delivery where tenant_id = $1 and sealed is not null`,
      [tenant()],
    );
    expect(kept).toEqual([{ status: 'FAILED' }]);
  });
});
