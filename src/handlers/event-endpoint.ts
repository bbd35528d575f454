import { type MessageInitShape, toJsonString } from '@bufbuild/protobuf';
import { EndpointDisabledReason, type EventEndpointSchema } from '../../gen/latchkey/v1/event_endpoint_pb.ts';
import {
  CreateEndpointRequestSchema,
  DeliveryOrder,
  type EndpointHeaders,
  EndpointOrder,
  type WebhookService,
} from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { SecretText } from '../base/secret-text.ts';
import { createEndpoint } from '../domain/endpoints/create-endpoint.ts';
import { deleteEndpoint } from '../domain/endpoints/delete-endpoint.ts';
import { getEndpoint } from '../domain/endpoints/get-endpoint.ts';
import { listEndpointDeliveries } from '../domain/endpoints/list-endpoint-deliveries.ts';
import { listEndpoints } from '../domain/endpoints/list-endpoints.ts';
import { replayEvents } from '../domain/endpoints/replay-events.ts';
import { rotateEndpointSecret } from '../domain/endpoints/rotate-endpoint-secret.ts';
import { sendTestEvent } from '../domain/endpoints/send-test-event.ts';
import { updateEndpoint } from '../domain/endpoints/update-endpoint.ts';
import type { EventEndpoint, EndpointDisabledReason as Reason } from '../model/event-endpoint.ts';
import { deliveryStatusName, deliveryToProto } from './delivery.ts';
import type { Implementation } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { fromTimestamp, toTimestamp } from './time.ts';

type Methods =
  | 'createEndpoint'
  | 'getEndpoint'
  | 'listEndpoints'
  | 'updateEndpoint'
  | 'deleteEndpoint'
  | 'rotateEndpointSecret'
  | 'sendTestEvent'
  | 'listEndpointDeliveries'
  | 'replayEvents';

/** The methods of WebhookService that are about where events are sent to. */
export const eventEndpoints: Pick<Implementation<typeof WebhookService>, Methods> = {
  async createEndpoint(call, request) {
    const { url, description, filter, includeInboundContent, requestId } = request;
    const input = {
      ...{ url, description, filter, includeInboundContent, enabled: !request.disabled },
      projectId: request.projectId || null,
      eventTypes: distinct(request.eventTypes?.types) ?? [],
      headers: headerTexts(request.headers) ?? new Map(),
    };
    const content = requestId ? toJsonString(CreateEndpointRequestSchema, request) : '';
    const { endpoint, secret } = await createEndpoint(call, input, { requestId, content });
    return { endpoint: endpointToProto(endpoint), secret: secret?.reveal() ?? '' };
  },

  async getEndpoint(call, { endpointId }) {
    return { endpoint: endpointToProto(await getEndpoint(call, endpointId)) };
  },

  async listEndpoints(call, request) {
    const projectId = request.projectId === '' ? null : request.projectId;
    const order = request.order === EndpointOrder.CREATE_TIME_ASC ? 'CREATE_TIME_ASC' : 'CREATE_TIME_DESC';
    const page = await listEndpoints(call, projectId, order, pageRequest(request));
    return { endpoints: page.items.map(endpointToProto), ...pageResponse(page) };
  },

  async updateEndpoint(call, request) {
    const { endpointId, etag, url, description, filter, includeInboundContent, enabled } = request;
    const patch = {
      ...{ url, description, filter, includeInboundContent, enabled },
      eventTypes: distinct(request.eventTypes?.types),
      headers: headerTexts(request.headers),
    };
    return { endpoint: endpointToProto(await updateEndpoint(call, endpointId, etag, patch)) };
  },

  async deleteEndpoint(call, { endpointId, etag }) {
    await deleteEndpoint(call, endpointId, etag);
    return {};
  },

  async rotateEndpointSecret(call, { endpointId, etag, overlapS }) {
    const { endpoint, secret } = await rotateEndpointSecret(call, endpointId, etag, overlapS);
    return { endpoint: endpointToProto(endpoint), secret: secret.reveal() };
  },

  async sendTestEvent(call, { endpointId }) {
    return { delivery: deliveryToProto(await sendTestEvent(call, endpointId)) };
  },

  async listEndpointDeliveries(call, request) {
    const order = request.order === DeliveryOrder.CREATE_TIME_ASC ? 'CREATE_TIME_ASC' : 'CREATE_TIME_DESC';
    const status = deliveryStatusName(request.status);
    const page = await listEndpointDeliveries(call, request.endpointId, status, order, pageRequest(request));
    return { deliveries: page.items.map(deliveryToProto), ...pageResponse(page) };
  },

  replayEvents(call, { endpointId, since, afterEventId, eventTypes, includeDelivered }) {
    const types = distinct(eventTypes?.types) ?? [];
    const replay = { since: fromTimestamp(since, 'since'), afterEventId, eventTypes: types, includeDelivered };
    return replayEvents(call, endpointId, replay);
  },
};

const REASONS: Record<Reason | '', EndpointDisabledReason> = {
  '': EndpointDisabledReason.UNSPECIFIED,
  caller: EndpointDisabledReason.CALLER,
  gone: EndpointDisabledReason.GONE,
  failing: EndpointDisabledReason.FAILING,
};

function endpointToProto(endpoint: EventEndpoint): MessageInitShape<typeof EventEndpointSchema> {
  const { id, description, url, eventTypes, filter, includeInboundContent, headerNames, enabled } = endpoint;
  return {
    ...{ id, description, url, eventTypes, filter, includeInboundContent, headerNames, enabled },
    projectId: endpoint.projectId ?? '',
    disabledReason: REASONS[endpoint.disabledReason],
    failingSince: toTimestamp(endpoint.failingSince),
    previousSecretExpireTime: toTimestamp(endpoint.previousSecretExpireTime),
    ownedEvents: endpoint.audience.administrator,
    createTime: toTimestamp(endpoint.createTime),
    updateTime: toTimestamp(endpoint.updateTime),
    etag: endpoint.etag(),
  };
}

function headerTexts(given: EndpointHeaders | undefined): Map<string, SecretText> | undefined {
  return given && new Map(Object.entries(given.headers).map(([name, value]) => [name, new SecretText(value)]));
}

function distinct(types: readonly string[] | undefined): string[] | undefined {
  return types && [...new Set(types)];
}
