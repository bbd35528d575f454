import { type MessageInitShape, toJsonString } from '@bufbuild/protobuf';
import type { InboundEndpointSchema, InboundMessageSchema } from '../../gen/latchkey/v1/inbound_endpoint_pb.ts';
import {
  CreateInboundEndpointRequestSchema,
  InboundEndpointOrder,
  InboundMessageOrder,
  type SigningSecretList,
  type WebhookService,
} from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { SecretText } from '../base/secret-text.ts';
import type { Call } from '../domain/call.ts';
import { createInboundEndpoint } from '../domain/inbound/create-inbound-endpoint.ts';
import { deleteInboundEndpoint } from '../domain/inbound/delete-inbound-endpoint.ts';
import { getInboundEndpoint } from '../domain/inbound/get-inbound-endpoint.ts';
import { getInboundMessage } from '../domain/inbound/get-inbound-message.ts';
import {
  listInboundEndpoints,
  type InboundEndpointOrder as OrderName,
} from '../domain/inbound/list-inbound-endpoints.ts';
import { listInboundMessages } from '../domain/inbound/list-inbound-messages.ts';
import { replayInboundMessages } from '../domain/inbound/replay-inbound-messages.ts';
import { updateInboundEndpoint } from '../domain/inbound/update-inbound-endpoint.ts';
import type { InboundEndpoint } from '../model/inbound-endpoint.ts';
import type { InboundMessage } from '../model/inbound-message.ts';
import type { Implementation } from './implement.ts';
import { verificationInput, verificationToProto } from './inbound-verification.ts';
import { pageRequest, pageResponse } from './page.ts';
import { fromTimestamp, toTimestamp } from './time.ts';

type Methods =
  | 'createInboundEndpoint'
  | 'getInboundEndpoint'
  | 'listInboundEndpoints'
  | 'updateInboundEndpoint'
  | 'deleteInboundEndpoint'
  | 'listInboundMessages'
  | 'getInboundMessage'
  | 'replayInboundMessage';

/** The methods of WebhookService that are about what third parties send. */
export const inboundEndpoints: Pick<Implementation<typeof WebhookService>, Methods> = {
  async createInboundEndpoint(call, request) {
    const { name, provider, retentionDays, requestId } = request;
    const input = {
      ...{ name, provider, retentionDays, enabled: !request.disabled },
      projectId: request.projectId || null,
      connectionId: request.connectionId || null,
      verification: verificationInput(request.verification),
      signingSecrets: secretTexts(request.signingSecrets) ?? [],
      maxBodyBytes: request.maxBodyBytes ?? 1_048_576,
      maxPerMinute: request.maxPerMinute ?? 6_000,
      keepHeaders: lowerCase(request.keepHeaders?.names) ?? [],
    };
    const content = requestId ? toJsonString(CreateInboundEndpointRequestSchema, request) : '';
    return shown(call, await createInboundEndpoint(call, input, { requestId, content }));
  },

  async getInboundEndpoint(call, { endpointId }) {
    return shown(call, await getInboundEndpoint(call, endpointId));
  },

  async listInboundEndpoints(call, request) {
    const projectId = request.projectId === '' ? null : request.projectId;
    const filter = { projectId, connectionId: request.connectionId };
    const page = await listInboundEndpoints(
      call,
      filter,
      ORDERS[request.order] ?? 'CREATE_TIME_DESC',
      pageRequest(request),
    );
    return { endpoints: page.items.map((endpoint) => endpointToProto(call, endpoint)), ...pageResponse(page) };
  },

  async updateInboundEndpoint(call, request) {
    const { endpointId, etag, name, enabled, maxBodyBytes, maxPerMinute, retentionDays } = request;
    const patch = {
      ...{ name, enabled, maxBodyBytes, maxPerMinute, retentionDays },
      verification: request.verification && verificationInput(request.verification),
      signingSecrets: secretTexts(request.signingSecrets),
      keepHeaders: lowerCase(request.keepHeaders?.names),
    };
    return shown(call, await updateInboundEndpoint(call, endpointId, etag, patch));
  },

  async deleteInboundEndpoint(call, { endpointId, etag }) {
    await deleteInboundEndpoint(call, endpointId, etag);
    return {};
  },

  async listInboundMessages(call, request) {
    const order = request.order === InboundMessageOrder.RECEIVE_TIME_ASC ? 'RECEIVE_TIME_ASC' : 'RECEIVE_TIME_DESC';
    const page = await listInboundMessages(call, messageFilter(request), order, pageRequest(request));
    return { messages: page.items.map(messageToProto), ...pageResponse(page) };
  },

  async getInboundMessage(call, { messageId }) {
    const { message, content } = await getInboundMessage(call, messageId);
    return { message: messageToProto(message), ...content };
  },

  async replayInboundMessage(call, request) {
    const { messageIds } = request;
    const { messages, more } = await replayInboundMessages(call, { messageIds, ...messageFilter(request) });
    return { messages: messages.map(messageToProto), more };
  },
};

const ORDERS: Record<InboundEndpointOrder, OrderName> = {
  [InboundEndpointOrder.UNSPECIFIED]: 'CREATE_TIME_DESC',
  [InboundEndpointOrder.CREATE_TIME_DESC]: 'CREATE_TIME_DESC',
  [InboundEndpointOrder.CREATE_TIME_ASC]: 'CREATE_TIME_ASC',
  [InboundEndpointOrder.NAME_ASC]: 'NAME_ASC',
};

type MessageFilter = {
  endpointId: string;
  receivedFrom?: Parameters<typeof fromTimestamp>[0];
  receivedBefore?: Parameters<typeof fromTimestamp>[0];
  replayed?: boolean | undefined;
};

function messageFilter({ endpointId, receivedFrom, receivedBefore, replayed }: MessageFilter) {
  return {
    ...{ endpointId, replayed },
    receivedFrom: fromTimestamp(receivedFrom, 'received_from'),
    receivedBefore: fromTimestamp(receivedBefore, 'received_before'),
  };
}

function shown(call: Call, endpoint: InboundEndpoint) {
  return { endpoint: endpointToProto(call, endpoint) };
}

function endpointToProto(call: Call, endpoint: InboundEndpoint): MessageInitShape<typeof InboundEndpointSchema> {
  const { id, name, provider, enabled, signingSecretCount, maxBodyBytes, maxPerMinute, retentionDays } = endpoint;
  return {
    ...{ id, name, provider, enabled, signingSecretCount, maxBodyBytes, maxPerMinute, retentionDays },
    projectId: endpoint.projectId ?? '',
    connectionId: endpoint.connectionId ?? '',
    ownerUserId: endpoint.ownerUserId ?? '',
    url: `${call.app.publicUrl}/webhooks/${id}`,
    verification: verificationToProto(endpoint.verification),
    keepHeaders: endpoint.keepHeaders,
    createTime: toTimestamp(endpoint.createTime),
    updateTime: toTimestamp(endpoint.updateTime),
    etag: endpoint.etag(),
  };
}

function messageToProto(message: InboundMessage): MessageInitShape<typeof InboundMessageSchema> {
  const { id, endpointId, senderId, contentType, bodyBytes, replayCount } = message;
  return {
    ...{ id, endpointId, senderId, contentType, bodyBytes, replayCount },
    lastReplayTime: toTimestamp(message.lastReplayTime),
    receiveTime: toTimestamp(message.receiveTime),
    expireTime: toTimestamp(message.expireTime),
  };
}

function secretTexts(list: SigningSecretList | undefined): SecretText[] | undefined {
  return list?.secrets.map((secret) => new SecretText(secret));
}

function lowerCase(names: readonly string[] | undefined): string[] | undefined {
  return names && [...new Set(names.map((name) => name.toLowerCase()))];
}
