import { createHmac } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { type MessageInitShape, toJson } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import {
  HmacAlgorithm,
  type InboundEndpoint,
  InboundScheme,
  SignatureEncoding,
} from '../../gen/latchkey/v1/inbound_endpoint_pb.ts';
import {
  type CreateInboundEndpointRequestSchema,
  GetInboundMessageResponseSchema,
  InboundEndpointOrder,
  InboundMessageOrder,
} from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import { sendMessage, signedHeaders, signingSecret } from '../harness/inbound.ts';
import type { Clients } from '../harness/server.ts';

const ABSENT_ENDPOINT = `iep_${'0'.repeat(26)}`;
const ABSENT_MESSAGE = `imsg_${'0'.repeat(26)}`;
const WITHIN = { timeout: 5_000, interval: 20 };

type Request = MessageInitShape<typeof CreateInboundEndpointRequestSchema>;

describeRpc('WebhookService, inbound', ({ as, server, tenant, operator }) => {
  const secret = signingSecret();
  let sent = 0;

  async function newEndpoint({ webhooks }: Clients, other: Exclude<Request, { $typeName: string }> = {}) {
    const request = { name: `e-${++sent}`, signingSecrets: { secrets: [secret] }, ...other };
    return (await webhooks.createInboundEndpoint(request)).endpoint!;
  }

  const port = () => server().replica.httpPort;
  const send = (endpoint: InboundEndpoint, body: string, id = `msg_${++sent}`) =>
    sendMessage(port(), endpoint.id, { 'content-type': 'application/json', ...signedHeaders(secret, id, body) }, body);

  async function receive(endpoint: InboundEndpoint, body: string, id?: string): Promise<string> {
    const answer = await send(endpoint, body, id);
    expect(answer.status).toBe(202);
    return ((await answer.json()) as { message_id: string }).message_id;
  }

  const events = (type: string) =>
    server().database.sql<{ aggregate_id: string; generation: number; payload: Record<string, unknown> }>(
      'select aggregate_id, generation, payload from latchkey.outbox where tenant_id = $1 and type = $2 order by id',
      [tenant(), type],
    );

  it('makes an endpoint, answers its URL and never its secrets', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients, { name: 'orders' });
    expect(endpoint).toMatchObject({
      ...{ name: 'orders', enabled: true, signingSecretCount: 1, maxBodyBytes: 1_048_576, retentionDays: 30 },
      verification: { scheme: InboundScheme.STANDARD_WEBHOOKS, idHeader: 'webhook-id' },
    });
    expect(endpoint.url).toBe(`${server().replica.app.publicUrl}/webhooks/${endpoint.id}`);
    expect(endpoint.verification?.signature).toMatchObject({
      signedContent: '{id}.{timestamp}.{body}',
      toleranceS: 300,
    });
    const { endpoint: got } = await clients.webhooks.getInboundEndpoint({ endpointId: endpoint.id });
    expect(got).toEqual(endpoint);
    const [row] = await server().database.sql('select * from latchkey.inbound_endpoint where id = $1', [endpoint.id]);
    expect(JSON.stringify(row)).not.toContain(secret);
    expect(Buffer.from(row!.signing_secrets as Buffer).includes(secret)).toBe(false);
    expect(server().logLines.join('\n')).not.toContain(secret);
  });

  it('takes the scheme, project and provider of a connection', async () => {
    const clients = await as('admin');
    const { connection } = await clients.connections.createConnection({
      ...{ name: 'hub', provider: 'github', projectId: 'p1', credential: bearer(`ghp_${'a'.repeat(36)}`) },
    });
    const endpoint = await newEndpoint(clients, { connectionId: connection!.id });
    expect(endpoint).toMatchObject({ provider: 'github', projectId: 'p1', connectionId: connection!.id });
    expect(endpoint.verification?.scheme).toBe(InboundScheme.GITHUB_SHA256);
    for (const other of [{ projectId: 'p2' }, { provider: 'slack' }]) {
      const failure = await failureOf(newEndpoint(clients, { connectionId: connection!.id, ...other }));
      expect(failure).toMatchObject({ reason: 'FIELD_INVALID' });
    }
    const absent = { connectionId: `conn_${'0'.repeat(26)}` };
    expect(await failureOf(newEndpoint(clients, absent))).toMatchObject({ reason: 'CONNECTION_NOT_FOUND' });
    await clients.connections.deleteConnection({ connectionId: connection!.id });
    const { endpoint: left } = await clients.webhooks.getInboundEndpoint({ endpointId: endpoint.id });
    expect(left).toMatchObject({ connectionId: '', provider: 'github' });
  });

  it('names wrong fields, taken names, and repeats a call under one request id', async () => {
    const clients = await as('resource_manager');
    const fields = async (other: Request) => {
      const request = { name: 'x', ...other } as Exclude<Request, { $typeName: string }>;
      return (await failureOf(clients.webhooks.createInboundEndpoint(request))).fields;
    };
    expect(await fields({ name: 'two\nlines' })).toEqual(['name']);
    expect(await fields({})).toEqual(['signing_secrets']);
    expect(await fields({ signingSecrets: { secrets: ['short'] } })).toEqual(['signing_secrets.secrets[0]']);
    expect(await fields({ signingSecrets: { secrets: [secret, secret, secret] } })).toEqual([
      'signing_secrets.secrets',
    ]);
    expect(await fields({ maxBodyBytes: 10_485_761 })).toEqual(['max_body_bytes']);
    expect(await fields({ retentionDays: 31 })).toEqual(['retention_days']);
    expect(await fields({ verification: { scheme: InboundScheme.CUSTOM } })).toEqual(['verification.signature']);
    expect(await fields({ verification: { idPointer: '/a~2' } })).toEqual(['verification.id_pointer']);
    const keepHeaders = { names: ['Authorization'] };
    expect(await fields({ keepHeaders, signingSecrets: { secrets: [secret] } })).toEqual(['keep_headers.names[0]']);
    await newEndpoint(clients, { name: 'taken' });
    expect(await failureOf(newEndpoint(clients, { name: 'taken' }))).toMatchObject({
      ...{ reason: 'INBOUND_ENDPOINT_NAME_TAKEN', metadata: expect.objectContaining({ name: 'taken' }) },
    });
    const repeat = { name: 'once', requestId: 'r1' };
    expect((await newEndpoint(clients, repeat)).id).toBe((await newEndpoint(clients, repeat)).id);
  });

  it('stores what is signed, tells it, and answers it byte for byte', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients, { keepHeaders: { names: ['X-Kind'] } });
    const body = '{ "n": 1.0,\r\n"ü": "\u0000" }';
    const headers: Record<string, string> = {
      'content-type': 'application/json',
      'x-kind': 'order',
      'x-other': 'no',
      ...signedHeaders(secret, 'msg_a', body),
    };
    const answer = await sendMessage(port(), endpoint.id, headers, body);
    expect(answer.status).toBe(202);
    const { message_id: messageId } = (await answer.json()) as { message_id: string };
    const got = await clients.webhooks.getInboundMessage({ messageId });
    expect(Buffer.from(got.body).toString()).toBe(body);
    expect(got.headers).toEqual({
      'content-type': 'application/json',
      'user-agent': expect.any(String),
      'webhook-id': 'msg_a',
      'webhook-timestamp': headers['webhook-timestamp'],
      'x-kind': 'order',
    });
    expect(got.message).toMatchObject({ senderId: 'msg_a', bodyBytes: Buffer.byteLength(body), replayCount: 0 });
    expect(await events('inbound_message.received')).toEqual([
      {
        ...{ aggregate_id: messageId, generation: 1 },
        payload: {
          ...{ message_id: messageId, endpoint_id: endpoint.id, connection_id: null, project_id: null },
          ...{ provider: '', replay: 0 },
        },
      },
    ]);
    const [row] = await server().database.sql<{ content: Buffer }>(
      'select content from latchkey.inbound_message where id = $1',
      [messageId],
    );
    expect(row!.content.includes('"n"')).toBe(false);
    await expect
      .poll(
        () =>
          server().database.sql(
            `select 1 from latchkey.audit_entry where action = 'inbound_message_read' and resource_id = $1`,
            [messageId],
          ),
        WITHIN,
      )
      .toHaveLength(1);
    expect(toJson(GetInboundMessageResponseSchema, got)).toHaveProperty('body');
    expect(server().logLines.filter((line) => line.includes(Buffer.from(body).toString('base64')))).toEqual([]);
  });

  it('answers a repeat with the message that is stored, and keeps one of many at once', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients);
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(endpoint, '{}', 'same')));
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses).toEqual([...Array.from({ length: 19 }, () => 200), 202]);
    const ids = await Promise.all(
      answers.map(async (answer) => ((await answer.json()) as { message_id: string }).message_id),
    );
    expect(new Set(ids).size).toBe(1);
    expect(await events('inbound_message.received')).toHaveLength(1);
    // The same id at another endpoint is another message.
    await receive(await newEndpoint(clients), '{}', 'same');
  });

  it('refuses what is not signed, keeps nothing of it, and records a flood once', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients);
    const good = signedHeaders(secret, 'm', '{}');
    const wrong: [string, Record<string, string>, string][] = [
      ['no headers', {}, '{}'],
      ['another body', good, '{} '],
      ['another secret', signedHeaders(signingSecret(), 'm', '{}'), '{}'],
      ['too old', signedHeaders(secret, 'm', '{}', new Date(Date.now() - 302_000)), '{}'],
      ['too new', signedHeaders(secret, 'm', '{}', new Date(Date.now() + 305_000)), '{}'],
      ['another id', { ...good, 'webhook-id': 'n' }, '{}'],
    ];
    const texts = new Set<string>();
    for (const [why, headers, body] of wrong) {
      const answer = await sendMessage(port(), endpoint.id, headers, body);
      expect(answer.status, why).toBe(401);
      texts.add(await answer.text());
    }
    expect(texts.size).toBe(1);
    expect((await clients.webhooks.listInboundMessages({})).messages).toEqual([]);
    expect(await events('inbound_message.received')).toEqual([]);
    const recorded = () =>
      server().database.sql(
        `select 1 from latchkey.audit_entry where action = 'inbound_message_refused' and resource_id = $1`,
        [endpoint.id],
      );
    await expect.poll(recorded, WITHIN).toHaveLength(1);
    const metrics = await (await fetch(`${server().httpUrl}/metrics`)).text();
    expect(metrics).toMatch(/latchkey_inbound_messages_total\{outcome="unverified"\} \d/);
  });

  it('refuses a signature that was sent twice', async () => {
    const endpoint = await newEndpoint(await as('resource_manager'));
    const headers = signedHeaders(secret, 'twice', '{}');
    const status = await new Promise<number>((done, fail) => {
      const options = { host: '127.0.0.1', port: port(), path: `/webhooks/${endpoint.id}`, method: 'POST' };
      const sending = httpRequest({
        ...options,
        headers: { ...headers, 'webhook-signature': [headers['webhook-signature']!, 'v1,x'] },
      });
      sending.on('response', (answer) => done(answer.statusCode!)).on('error', fail);
      sending.end('{}');
    });
    expect(status).toBe(401);
  });

  it('answers the same 404 for unknown, disabled and deleted endpoints, and 405 to other methods', async () => {
    const clients = await as('resource_manager');
    const [disabled, deleted] = [await newEndpoint(clients), await newEndpoint(clients)];
    await receive(disabled, '{}');
    await clients.webhooks.updateInboundEndpoint({ endpointId: disabled.id, enabled: false });
    await clients.webhooks.deleteInboundEndpoint({ endpointId: deleted.id });
    const answers = await Promise.all(
      [disabled.id, deleted.id, ABSENT_ENDPOINT, 'x', 'iep_../x', `${disabled.id}/y`].map((id) =>
        sendMessage(port(), id, signedHeaders(secret, 'm', '{}'), '{}'),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 404));
    expect(new Set(await Promise.all(answers.map((answer) => answer.text()))).size).toBe(1);
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE'])
      expect((await fetch(`${server().httpUrl}/webhooks/${disabled.id}`, { method })).status, method).toBe(405);
    await clients.webhooks.updateInboundEndpoint({ endpointId: disabled.id, enabled: true });
    await receive(disabled, '{}');
  });

  it('refuses bodies beyond the limit, declared or not, and takes one at the limit', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients, { maxBodyBytes: 1000 });
    await receive(endpoint, 'x'.repeat(1000));
    expect((await send(endpoint, 'x'.repeat(1001))).status).toBe(413);
    const chunked = new ReadableStream({
      start(controller) {
        for (let n = 0; n < 3; n++) controller.enqueue(new Uint8Array(500));
        controller.close();
      },
    });
    const url = `${server().httpUrl}/webhooks/${endpoint.id}`;
    const init = { method: 'POST', body: chunked, duplex: 'half', headers: signedHeaders(secret, 'm', '') };
    expect((await fetch(url, init as RequestInit)).status).toBe(413);
    const largest = await newEndpoint(clients, { maxBodyBytes: 10_485_760 });
    await receive(largest, 'y'.repeat(10_485_760));
  });

  it('takes no more a minute than was said, of what is verified', async () => {
    const endpoint = await newEndpoint(await as('resource_manager'), { maxPerMinute: 2 });
    for (let n = 0; n < 5; n++) expect((await sendMessage(port(), endpoint.id, {}, '{}')).status).toBe(401);
    await receive(endpoint, '{}');
    await receive(endpoint, '{}');
    const answer = await send(endpoint, '{}');
    expect(answer.status).toBe(429);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  it('takes the old and the new secret while one is being replaced', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients);
    const next = signingSecret();
    const status = async (by: string) =>
      (await sendMessage(port(), endpoint.id, signedHeaders(by, `m${++sent}`, '{}'), '{}')).status;
    expect([await status(secret), await status(next)]).toEqual([202, 401]);
    const endpointId = endpoint.id;
    await clients.webhooks.updateInboundEndpoint({ endpointId, signingSecrets: { secrets: [secret, next] } });
    expect([await status(secret), await status(next)]).toEqual([202, 202]);
    const { endpoint: last } = await clients.webhooks.updateInboundEndpoint({
      endpointId,
      signingSecrets: { secrets: [next] },
    });
    expect([await status(secret), await status(next)]).toEqual([401, 202]);
    expect(last).toMatchObject({ signingSecretCount: 1, etag: 'v3' });
  });

  it('changes what is set, under an etag, and asks for secrets with another scheme', async () => {
    const clients = await as('resource_manager');
    const { id: endpointId, etag } = await newEndpoint(clients);
    const { webhooks } = clients;
    const { endpoint } = await webhooks.updateInboundEndpoint({ endpointId, etag, name: 'renamed', maxBodyBytes: 5 });
    expect(endpoint).toMatchObject({ name: 'renamed', maxBodyBytes: 5, maxPerMinute: 6_000, etag: 'v2' });
    expect(await failureOf(webhooks.updateInboundEndpoint({ endpointId, etag, name: 'x' }))).toMatchObject({
      ...{ reason: 'ETAG_MISMATCH', metadata: expect.objectContaining({ etag: 'v2' }) },
    });
    const verification = { scheme: InboundScheme.STRIPE };
    expect(await failureOf(webhooks.updateInboundEndpoint({ endpointId, verification }))).toMatchObject({
      fields: ['signing_secrets'],
    });
    const none = { scheme: InboundScheme.NONE };
    const { endpoint: open } = await webhooks.updateInboundEndpoint({ endpointId, verification: none });
    expect(open).toMatchObject({ signingSecretCount: 0 });
    expect((await sendMessage(port(), endpointId, {}, '{}')).status).toBe(202);
    expect(
      await failureOf(webhooks.updateInboundEndpoint({ endpointId, signingSecrets: { secrets: [secret] } })),
    ).toMatchObject({
      fields: ['signing_secrets'],
    });
    await newEndpoint(clients, { name: 'other' });
    expect(await failureOf(webhooks.updateInboundEndpoint({ endpointId, name: 'other' }))).toMatchObject({
      reason: 'INBOUND_ENDPOINT_NAME_TAKEN',
    });
  });

  it('answers the challenge of Slack once it is verified, and keeps it not', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients, { provider: 'slack' });
    const slack = (body: string, key = secret) => {
      const timestamp = String(Math.floor(Date.now() / 1000));
      const mac = createHmac('sha256', key).update(`v0:${timestamp}:${body}`).digest('hex');
      return sendMessage(
        port(),
        endpoint.id,
        { 'x-slack-signature': `v0=${mac}`, 'x-slack-request-timestamp': timestamp },
        body,
      );
    };
    const challenge = JSON.stringify({
      type: 'url_verification',
      token: 't',
      challenge: '3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P',
    });
    const answer = await slack(challenge);
    expect([answer.status, answer.headers.get('content-type'), await answer.text()]).toEqual([
      ...[200, 'text/plain; charset=utf-8', '3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P'],
    ]);
    expect((await slack(challenge, 'wrong secret')).status).toBe(401);
    expect((await clients.webhooks.listInboundMessages({ endpointId: endpoint.id })).messages).toEqual([]);
    const event = JSON.stringify({ type: 'event_callback', event_id: 'Ev1', event: { text: 'url_verification' } });
    expect([(await slack(event)).status, (await slack(event)).status]).toEqual([202, 200]);
  });

  it('takes a scheme that a caller describes', async () => {
    const clients = await as('resource_manager');
    const signature = {
      signatureHeader: 'X-Shop-Hmac',
      encoding: SignatureEncoding.BASE64,
      algorithm: HmacAlgorithm.SHA512,
    };
    const verification = { scheme: InboundScheme.CUSTOM, signature, idHeader: 'X-Shop-Id' };
    const endpoint = await newEndpoint(clients, { verification });
    const mac = createHmac('sha512', secret).update('{}').digest('base64');
    const headers = { 'x-shop-hmac': mac, 'x-shop-id': '7' };
    expect((await sendMessage(port(), endpoint.id, headers, '{}')).status).toBe(202);
    expect((await sendMessage(port(), endpoint.id, headers, '{}')).status).toBe(200);
    expect((await sendMessage(port(), endpoint.id, headers, '[]')).status).toBe(401);
  });

  it('lists endpoints and messages in pages', async () => {
    const clients = await as('resource_manager');
    const [a, b] = [
      await newEndpoint(clients, { name: 'b', projectId: 'p' }),
      await newEndpoint(clients, { name: 'a' }),
    ];
    const { webhooks } = clients;
    const names = async (request: Parameters<typeof webhooks.listInboundEndpoints>[0]) =>
      (await webhooks.listInboundEndpoints(request)).endpoints.map(({ name }) => name);
    expect(await names({})).toEqual(['a', 'b']);
    expect(await names({ order: InboundEndpointOrder.CREATE_TIME_ASC })).toEqual(['b', 'a']);
    expect(await names({ order: InboundEndpointOrder.NAME_ASC, projectId: '' })).toEqual(['a']);
    const page = await webhooks.listInboundEndpoints({
      order: InboundEndpointOrder.NAME_ASC,
      pageSize: 1,
      withTotalSize: true,
    });
    expect(page).toMatchObject({ totalSize: 2, endpoints: [{ name: 'a' }] });
    expect(await names({ order: InboundEndpointOrder.NAME_ASC, pageSize: 1, pageToken: page.nextPageToken })).toEqual([
      'b',
    ]);
    const first = await receive(a, '{}');
    const start = Date.now() + 1;
    await expect.poll(() => Date.now(), WITHIN).toBeGreaterThan(start);
    const [second, third] = [await receive(b, '{}'), await receive(a, '{}')];
    const ids = async (request: Parameters<typeof webhooks.listInboundMessages>[0]) =>
      (await webhooks.listInboundMessages(request)).messages.map(({ id }) => id);
    expect(await ids({})).toEqual([third, second, first]);
    expect(await ids({ order: InboundMessageOrder.RECEIVE_TIME_ASC, endpointId: a.id })).toEqual([first, third]);
    expect(await ids({ receivedFrom: timestampFromMs(start) })).toEqual([third, second]);
    expect(await ids({ receivedBefore: timestampFromMs(start) })).toEqual([first]);
    const messages = await webhooks.listInboundMessages({ pageSize: 2, withTotalSize: true });
    expect(messages.totalSize).toBe(3);
    expect(await ids({ pageSize: 2, pageToken: messages.nextPageToken })).toEqual([first]);
    expect(
      JSON.stringify(messages.messages, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
    ).not.toContain('content"');
  });

  it('replays messages by id and by time, with a counter, all or none', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients);
    const { webhooks } = clients;
    const [first, second] = [await receive(endpoint, '1'), await receive(endpoint, '2')];
    const { messages } = await webhooks.replayInboundMessage({ messageIds: [second, first] });
    expect(messages.map(({ id, replayCount }) => [id, replayCount])).toEqual([
      [first, 1],
      [second, 1],
    ]);
    await webhooks.replayInboundMessage({ messageIds: [first] });
    const told = (await events('inbound_message.received')).map(({ aggregate_id, generation, payload }) => [
      aggregate_id,
      generation,
      payload.replay,
    ]);
    expect(told).toHaveLength(5);
    expect(told.filter(([id]) => id === first)).toEqual([
      [first, 1, 0],
      [first, 2, 1],
      [first, 3, 2],
    ]);
    const third = await receive(endpoint, '3');
    const absent = await failureOf(webhooks.replayInboundMessage({ messageIds: [third, ABSENT_MESSAGE] }));
    expect(absent).toMatchObject({
      reason: 'INBOUND_MESSAGE_NOT_FOUND',
      metadata: expect.objectContaining({ message_id: ABSENT_MESSAGE }),
    });
    const { messages: rest, more } = await webhooks.replayInboundMessage({ endpointId: endpoint.id, replayed: false });
    expect([rest.map(({ id, replayCount }) => [id, replayCount]), more]).toEqual([[[third, 1]], false]);
    expect((await webhooks.listInboundMessages({ replayed: false })).messages).toEqual([]);
    expect((await webhooks.getInboundMessage({ messageId: first })).message).toMatchObject({
      replayCount: 2,
      lastReplayTime: expect.anything(),
    });
    expect(await failureOf(webhooks.replayInboundMessage({}))).toMatchObject({ fields: ['message_ids'] });
    expect(
      await failureOf(webhooks.replayInboundMessage({ endpointId: endpoint.id, messageIds: [first] })),
    ).toMatchObject({ fields: ['message_ids'] });
  });

  it('deletes the messages of an endpoint that is deleted', async () => {
    const clients = await as('resource_manager');
    const endpoint = await newEndpoint(clients);
    const messageId = await receive(endpoint, '{}');
    await clients.webhooks.deleteInboundEndpoint({ endpointId: endpoint.id, etag: endpoint.etag });
    expect(await failureOf(clients.webhooks.getInboundMessage({ messageId }))).toMatchObject({
      reason: 'INBOUND_MESSAGE_NOT_FOUND',
    });
    expect((await clients.webhooks.listInboundMessages({})).messages).toEqual([]);
    const left = () =>
      server().database.sql('select 1 from latchkey.inbound_message where endpoint_id = $1', [endpoint.id]);
    await expect.poll(left, WITHIN).toEqual([]);
  });

  it('shows another tenant, project or user nothing, as if there were nothing', async () => {
    const admin = await as('admin');
    const { me } = { me: await (await as('requestor', { subject: 'ann' })).access.getMe({}) };
    const { connection } = await admin.connections.createConnection({
      name: 'of ann',
      ownerUserId: me.user!.id,
      credential: bearer('t'),
    });
    const owned = await newEndpoint(admin, { connectionId: connection!.id });
    expect(owned.ownerUserId).toBe(me.user!.id);
    const inProject = await newEndpoint(admin, { projectId: 'p1' });
    const [ownedMessage, projectMessage] = [await receive(owned, '{}'), await receive(inProject, '{}')];
    const { secret: key } = await admin.access.createApiKey({
      displayName: 'k',
      scopes: ['webhook:*'],
      projectIds: ['p2'],
    });
    const strangers = [
      [await as('admin', { tenant: `${tenant()}-other` }), owned.id, ownedMessage],
      [await as('resource_manager'), owned.id, ownedMessage],
      [server().clients('grpc', { authorization: `Bearer ${key}` }), inProject.id, projectMessage],
    ] as const;
    for (const [{ webhooks }, endpointId, messageId] of strangers) {
      const acts = (endpoint: string, message: string) => [
        webhooks.getInboundEndpoint({ endpointId: endpoint }),
        webhooks.updateInboundEndpoint({ endpointId: endpoint, name: 'mine' }),
        webhooks.deleteInboundEndpoint({ endpointId: endpoint }),
        webhooks.replayInboundMessage({ endpointId: endpoint }),
        webhooks.getInboundMessage({ messageId: message }),
        webhooks.replayInboundMessage({ messageIds: [message] }),
      ];
      const said = async (endpoint: string, message: string) => {
        const failures = await Promise.all(acts(endpoint, message).map((act) => failureOf(act)));
        return failures.map(({ code, message: text, reason, metadata }) => [
          code,
          text,
          reason,
          Object.keys(metadata).sort(),
        ]);
      };
      expect(await said(endpointId, messageId)).toEqual(await said(ABSENT_ENDPOINT, ABSENT_MESSAGE));
      expect((await webhooks.listInboundEndpoints({})).endpoints.map(({ id }) => id)).not.toContain(endpointId);
      expect((await webhooks.listInboundMessages({ endpointId })).messages).toEqual([]);
    }
    expect((await admin.webhooks.listInboundMessages({})).messages).toHaveLength(2);
    const connectionId = connection!.id;
    expect(await failureOf(newEndpoint(await as('resource_manager'), { connectionId }))).toMatchObject({
      reason: 'CONNECTION_NOT_FOUND',
    });
    const { webhooks: theirs } = await as('requestor', { subject: 'who owns nothing' });
    expect((await theirs.listInboundEndpoints({})).endpoints).toEqual([]);
    expect((await theirs.listInboundMessages({})).messages).toEqual([]);
    for (const { id } of (await admin.webhooks.listInboundMessages({})).messages)
      expect(await failureOf(theirs.getInboundMessage({ messageId: id }))).toMatchObject({
        reason: 'INBOUND_MESSAGE_NOT_FOUND',
      });
    expect(await failureOf(newEndpoint(await as('requestor')))).toMatchObject({ reason: 'PERMISSION_MISSING' });
    expect((await operator().webhooks.listInboundEndpoints({})).endpoints.map(({ id }) => id)).not.toContain(owned.id);
  });
});
