import { toJson } from '@bufbuild/protobuf';
import { type Value, ValueSchema } from '@bufbuild/protobuf/wkt';
import {
  DeliveryOrder,
  type ListDeliveriesRequest,
  type RetryDeliveriesRequest,
  type SendWebhookRequest,
  WebhookMethod,
  WebhookMode,
  WebhookService,
} from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { fieldInvalid } from '../base/error.ts';
import { getDelivery } from '../domain/webhooks/get-delivery.ts';
import { listDeliveries } from '../domain/webhooks/list-deliveries.ts';
import { retryDeliveries } from '../domain/webhooks/retry-deliveries.ts';
import { retryDelivery } from '../domain/webhooks/retry-delivery.ts';
import { sendWebhook, type Webhook } from '../domain/webhooks/send-webhook.ts';
import type { JsonValue, JsonObject as StoredJson } from '../model/json.ts';
import { deliveryStatusName, deliveryToProto } from './delivery.ts';
import { eventEndpoints } from './event-endpoint.ts';
import { implement } from './implement.ts';
import { inboundEndpoints } from './inbound-endpoint.ts';
import { pageRequest, pageResponse } from './page.ts';
import { fromTimestamp } from './time.ts';

export const webhookService = implement(WebhookService, {
  ...eventEndpoints,
  ...inboundEndpoints,

  async sendWebhook(call, request) {
    return { delivery: deliveryToProto(await sendWebhook(call, webhookOf(request))) };
  },

  async getDelivery(call, { deliveryId }) {
    return { delivery: deliveryToProto(await getDelivery(call, deliveryId)) };
  },

  async listDeliveries(call, request) {
    const filter = { ...filterOf(request), status: deliveryStatusName(request.status) };
    const order = request.order === DeliveryOrder.CREATE_TIME_ASC ? 'CREATE_TIME_ASC' : 'CREATE_TIME_DESC';
    const page = await listDeliveries(call, filter, order, pageRequest(request));
    return { deliveries: page.items.map(deliveryToProto), ...pageResponse(page) };
  },

  async retryDelivery(call, { deliveryId }) {
    return { delivery: deliveryToProto(await retryDelivery(call, deliveryId)) };
  },

  retryDeliveries(call, request) {
    return retryDeliveries(call, filterOf(request));
  },
});

const METHODS = new Map<WebhookMethod, Webhook['method']>([
  [WebhookMethod.PUT, 'PUT'],
  [WebhookMethod.PATCH, 'PATCH'],
]);

function webhookOf(request: SendWebhookRequest): Webhook {
  const { url, path, headers, condition, sign, requestId, body, variables } = request;
  return {
    ...{ url, path, headers, condition, sign, requestId },
    connectionId: request.connectionId || null,
    method: METHODS.get(request.method) ?? 'POST',
    body: body && json(body),
    variables: (variables ?? {}) as StoredJson,
    blocking: request.mode !== WebhookMode.FIRE_AND_FORGET,
    timeoutMs: request.timeoutMs ?? null,
    attempts: request.attempts ?? 3,
    backoffMs: request.backoffMs ?? 1_000,
  };
}

/** Fails with FIELD_INVALID where it is no JSON: NaN, or nothing at all. */
function json(value: Value): JsonValue {
  try {
    return toJson(ValueSchema, value) as JsonValue;
  } catch {
    throw fieldInvalid('body', 'is no JSON');
  }
}

function filterOf({ connectionId, host, ...request }: ListDeliveriesRequest | RetryDeliveriesRequest) {
  return {
    ...{ connectionId, host },
    createdFrom: fromTimestamp(request.createdFrom, 'created_from'),
    createdBefore: fromTimestamp(request.createdBefore, 'created_before'),
  };
}
