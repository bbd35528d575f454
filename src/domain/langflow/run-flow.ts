import { randomUUID } from 'node:crypto';
import { pointer } from '../../base/json-pointer.ts';
import type { FlowRun, LangflowDocument } from '../../clients/langflow/langflow.ts';
import type { JsonObject } from '../../model/json.ts';
import type { Call } from '../call.ts';
import { refuseForeignFlow, takeRun } from './runnable-flow.ts';
import { withKey } from './with-key.ts';

/** An empty session: one of its own. */
export type Invocation = FlowRun & { flowId: string };
export type FlowOutcome = { sessionId: string; text: string; answer: JsonObject };

/** Runs a flow, once, and waits for what comes out. Fails with FLOW_NOT_FOUND, FLOW_RUN_FAILED, FIELD_INVALID, OVERLOADED, too. */
export async function runFlow(call: Call, invocation: Invocation): Promise<FlowOutcome> {
  const { flowId, ...run } = inSession(invocation);
  const slot = takeRun(call);
  try {
    const answer = await withKey(call, { operation: 'run', flowId }, async (access) => {
      await refuseForeignFlow(call, access, flowId);
      return access.langflow.run(access.key, flowId, run, call.signal);
    });
    return outcomeOf(answer, run.sessionId);
  } finally {
    slot.done();
  }
}

/** Without one Langflow takes the flow's id, and all its callers share a conversation. */
export function inSession(invocation: Invocation): Invocation {
  return { ...invocation, sessionId: invocation.sessionId || randomUUID() };
}

const TEXTS = ['/results/message/text', '/results/message/data/text', '/messages/0/message', '/artifacts/message'];

/** The text lies in different places from version to version and from component to component. */
export function outcomeOf(answer: LangflowDocument, sessionId: string): FlowOutcome {
  const output = pointer(answer, '/outputs/0/outputs/0');
  const texts = TEXTS.map((at) => pointer(output, at)).filter((text) => typeof text === 'string');
  return { sessionId, text: texts[0] ?? '', answer: answer as JsonObject };
}
