import { createHash } from 'node:crypto';
import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import type { Em } from '../../db/transaction.ts';
import type { Connection } from '../../model/connection.ts';
import { type DeliveryView, deliveryPlace } from '../../model/delivery.ts';
import type { JsonObject } from '../../model/json.ts';
import { readEntry } from '../audit/audit.ts';
import type { Call, Principal } from '../call.ts';
import { change, read } from '../change.ts';
import { findConnection } from '../connections/find-connection.ts';
import { refuseUnlessPermitted } from '../connections/visibility.ts';
import type { DeliveryRequest, NewDelivery } from '../deliveries.ts';
import { once } from '../once.ts';
import { awaitDelivery, readOwn } from './await-delivery.ts';
import { type Beginning, deliveryRow } from './delivery-row.ts';
import { evaluateCondition } from './evaluate-condition.ts';
import { Template } from './fill-template.ts';
import { secretMissing } from './signing-secrets.ts';
import { fillRequest, type RequestTemplate } from './webhook-request.ts';

export type Webhook = Pick<RequestTemplate, 'headers' | 'body'> & {
  /** A whole URL, to which no credential goes; empty: it goes to the connection. */
  url: string;
  connectionId: string | null;
  /** Below the base URL of the connection. */
  path: string;
  method: 'POST' | 'PUT' | 'PATCH';
  variables: JsonObject;
  /** CEL; empty: none. */
  condition: string;
  /** Wait for the outcome. */
  blocking: boolean;
  /** Null: the connection's, or 8000. */
  timeoutMs: number | null;
  attempts: number;
  backoffMs: number;
  sign: boolean;
  requestId: string;
};

const DEFAULT_TIMEOUT_MS = 8_000;
/** Kinds whose credential no HTTP request can carry. */
const NOT_HTTP = ['aws', 'smtp', 'ftp'];

/**
 * Sends a webhook at least once: it is stored before it is sent. Where the condition does not hold it is stored as skipped.
 * Fails with FIELD_INVALID, CONNECTION_NOT_FOUND, PERMISSION_MISSING, CONNECTION_DISABLED, CONNECTION_NOT_HTTP, HOST_NOT_ALLOWED, ADDRESS_FORBIDDEN,
 * WEBHOOK_SECRET_MISSING, REQUEST_ID_REUSED.
 */
export async function sendWebhook(call: Call, webhook: Webhook): Promise<DeliveryView> {
  const { connectionId, blocking } = webhook;
  if ((webhook.url === '') === (connectionId === null)) throw fieldInvalid('url', 'is given, or connection_id is');
  if (webhook.path && !connectionId) throw fieldInvalid('path', 'goes with connection_id');
  if (webhook.sign && !connectionId) throw fieldInvalid('sign', 'takes a connection, whose secret signs');
  const connection = connectionId ? await usableConnection(call, connectionId, webhook.sign) : null;
  const skipped = webhook.condition !== '' && !evaluateCondition(webhook.condition, webhook.variables);
  const delivery = await newDelivery(call, webhook, connection, skipped);
  if (!webhook.requestId && !skipped) {
    await call.app.deliveries.accept(delivery);
    return blocking ? awaitDelivery(call, delivery.task.id) : accepted(call, delivery);
  }
  const id = await storeOnce(call, webhook, delivery, skipped);
  return blocking && !skipped ? awaitDelivery(call, id) : readOwn(call, id);
}

async function usableConnection(call: Call, id: string, sign: boolean): Promise<Connection> {
  const connection = await read(call, (em) => findConnection(em, call, id, 'connection:use'));
  refuseUnlessPermitted(call.principal, 'webhook:send', connection);
  const metadata = { connection_id: id };
  if (!connection.enabled) throw new LatchkeyError('CONNECTION_DISABLED', { metadata });
  if (NOT_HTTP.includes(connection.kind))
    throw new LatchkeyError('CONNECTION_NOT_HTTP', { metadata: { ...metadata, cause: 'kind' } });
  if (sign && !connection.webhookSignatureSecret) throw secretMissing(id);
  return connection;
}

async function newDelivery(
  call: Call,
  webhook: Webhook,
  connection: Connection | null,
  skipped: boolean,
): Promise<NewDelivery> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const { request, host } = skipped ? nothing(webhook, connection) : filled(call, webhook, connection);
  const id = newId('dlv', app.clock.now());
  const seal = await app.keyring.sealer(tenantId);
  const connectionId = connection?.id ?? null;
  return {
    task: {
      ...{ tenantId, id, messageId: id, purpose: 'webhook', connectionId },
      signedBy: webhook.sign ? connectionId! : '',
      ...{ host, lane: laneOf(host), method: webhook.method, request, awaited: webhook.blocking, attemptCount: 0 },
      ...{ maxAttempts: webhook.attempts, backoffMs: webhook.backoffMs },
      timeoutMs: webhook.timeoutMs ?? connection?.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    },
    sealed: seal(deliveryPlace(tenantId, id), Buffer.from(JSON.stringify(request))),
    ownerUserId: connection ? connection.ownerUserId : ownerOf(principal),
    projectId: connection?.projectId ?? null,
    audit: {
      ...readEntry(call, 'webhook_sent', { type: 'delivery', id }),
      after: { host, method: webhook.method, connection_id: connectionId, skipped },
    },
  };
}

function filled(call: Call, webhook: Webhook, connection: Connection | null) {
  const { url, path, headers, body, variables } = webhook;
  const template = { url: connection ? path : url, headers, body };
  const { request, target } = fillRequest(new Template(variables), template, connection);
  call.app.egress.refuseForbidden(target);
  return { request, host: target.host };
}

/** Of what is not sent only the host is kept, as far as it is known without the variables. */
function nothing({ url }: Webhook, connection: Connection | null): { request: DeliveryRequest; host: string } {
  const host = URL.parse(connection ? connection.baseUrl : url)?.host ?? '';
  return { request: { url: '', headers: [], body: null }, host };
}

/** A key that acts for a user, and a user who may send for themselves alone, send in that user's name. */
function ownerOf({ kind, userId, permissions }: Principal): string | null {
  return kind === 'api_key' || !permissions.has('webhook:send') ? userId : null;
}

function laneOf(host: string): number {
  return createHash('sha256').update(host).digest().readInt32BE();
}

/** A delivery as it was stored, without looking. */
function accepted({ app }: Call, { task, ownerUserId, projectId }: NewDelivery): DeliveryView {
  const now = new Date(app.clock.now());
  const begun = {
    status: 'PENDING' as const,
    error: '',
    attempts: [],
    dueTime: now,
    createTime: now,
    settleTime: null,
  };
  return { ...task, ...begun, ownerUserId, projectId };
}

/** In the transaction of the memo, and so in its turn. */
async function storeOnce(call: Call, webhook: Webhook, delivery: NewDelivery, skipped: boolean): Promise<string> {
  const { requestId } = webhook;
  const content = JSON.stringify(webhook);
  const { id } = delivery.task;
  const stored = await change(call, (em) =>
    once(em, call, { method: 'SendWebhook', requestId, content }, id, {
      make: async () => {
        await insert(em, delivery, { status: skipped ? 'SKIPPED' : 'PENDING' });
        return id;
      },
      repeat: async (made) => made,
    }),
  );
  if (stored === id && !skipped) call.app.deliveries.look();
  return stored;
}

async function insert(em: Em, delivery: NewDelivery, beginning: Beginning): Promise<void> {
  const rows = JSON.stringify([deliveryRow(delivery, beginning)]);
  await em.execute('select latchkey.accept_deliveries(?, cast(? as json))', [delivery.task.tenantId, rows]);
}
