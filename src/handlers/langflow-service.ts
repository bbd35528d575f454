import type { JsonObject } from '@bufbuild/protobuf';
import {
  FlowInput,
  type FlowInvocation,
  FlowOrder,
  FlowOutput,
  LangflowService,
} from '../../gen/latchkey/v1/langflow_service_pb.ts';
import { checkProviderHealth } from '../domain/integrations/check-provider-health.ts';
import { createFlow } from '../domain/langflow/create-flow.ts';
import type { Flow } from '../domain/langflow/flow.ts';
import { getApiKey } from '../domain/langflow/get-api-key.ts';
import { getFlow } from '../domain/langflow/get-flow.ts';
import { listFlows } from '../domain/langflow/list-flows.ts';
import { refreshTokens } from '../domain/langflow/refresh-tokens.ts';
import { type FlowOutcome, type Invocation, runFlow } from '../domain/langflow/run-flow.ts';
import { streamFlowRun } from '../domain/langflow/stream-flow-run.ts';
import { LANGFLOW } from '../domain/langflow/with-key.ts';
import type { JsonObject as StoredJson } from '../model/json.ts';
import { implement } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { healthToProto } from './provider-health.ts';
import { toTimestamp } from './time.ts';

export const langflowService = implement(LangflowService, {
  async listFlows(call, request) {
    const { text, folderId, component } = request;
    const order = request.order === FlowOrder.NAME_DESC ? 'NAME_DESC' : 'NAME_ASC';
    const page = await listFlows(call, { text, folderId, component }, order, pageRequest(request));
    return { flows: page.items.map(flowToProto), ...pageResponse(page) };
  },

  async createFlow(call, { name, description, data, folderId, endpointName, tags }) {
    const flow = { name, description, data: (data ?? {}) as StoredJson, folderId, endpointName, tags };
    return { flow: flowToProto(await createFlow(call, flow)) };
  },

  async getFlow(call, { flowId }) {
    return { flow: flowToProto(await getFlow(call, flowId)) };
  },

  async runFlow(call, { run }) {
    return outcomeToProto(await runFlow(call, invocation(run!)));
  },

  async *streamFlowRun(call, { run }) {
    for await (const event of streamFlowRun(call, invocation(run!))) {
      switch (event.kind) {
        case 'token':
          yield { event: { case: 'token', value: { messageId: event.messageId, text: event.text } } };
          break;
        case 'message': {
          const { id, sender, text, message } = event;
          yield { event: { case: 'message', value: { id, sender, text, message: message as JsonObject } } };
          break;
        }
        case 'end':
          yield { event: { case: 'end', value: outcomeToProto(event.outcome) } };
      }
    }
  },

  async refreshTokens(call) {
    return { expireTime: toTimestamp(await refreshTokens(call)) };
  },

  async getApiKey(call) {
    return getApiKey(call);
  },

  async checkHealth(call) {
    return { health: healthToProto(await checkProviderHealth(call, LANGFLOW)) };
  },
});

const INPUTS = new Map<FlowInput, Invocation['inputType']>([
  [FlowInput.TEXT, 'text'],
  [FlowInput.ANY, 'any'],
]);
const OUTPUTS = new Map<FlowOutput, Invocation['outputType']>([
  [FlowOutput.TEXT, 'text'],
  [FlowOutput.ANY, 'any'],
  [FlowOutput.DEBUG, 'debug'],
]);

function invocation({ flowId, inputValue, inputType, outputType, ...run }: FlowInvocation): Invocation {
  return {
    ...{ flowId, inputValue, outputComponent: run.outputComponent, sessionId: run.sessionId },
    inputType: INPUTS.get(inputType) ?? 'chat',
    outputType: OUTPUTS.get(outputType) ?? 'chat',
    tweaks: run.tweaks ?? {},
  };
}

function flowToProto({ updateTime, data, ...flow }: Flow) {
  return { ...flow, updateTime: toTimestamp(updateTime), data: (data ?? undefined) as JsonObject | undefined };
}

function outcomeToProto({ sessionId, text, answer }: FlowOutcome) {
  return { sessionId, text, answer: answer as JsonObject };
}
