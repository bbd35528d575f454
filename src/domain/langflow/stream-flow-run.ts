import type { FlowEvent } from '../../clients/langflow/flow-events.ts';
import { langflowFailure } from '../../clients/langflow/langflow-error.ts';
import type { Call } from '../call.ts';
import { type FlowOutcome, type Invocation, inSession, outcomeOf } from './run-flow.ts';
import { refuseForeignFlow, takeRun } from './runnable-flow.ts';
import { withKey } from './with-key.ts';

/** Of a whole run; between two parts of it 5 minutes may go by. */
const LONGEST_MS = 3_600_000;

export type RunEvent = Exclude<FlowEvent, { kind: 'end' }> | { kind: 'end'; outcome: FlowOutcome };

/** Runs a flow, once, and answers what comes out as it comes. Ends the run when the caller leaves. Fails as `runFlow` does, also in the middle. */
export async function* streamFlowRun(call: Call, invocation: Invocation): AsyncIterable<RunEvent> {
  const { flowId, ...run } = inSession(invocation);
  const context = { operation: 'run', flowId } as const;
  const leaving = new AbortController();
  const signal = AbortSignal.any([call.signal, leaving.signal, AbortSignal.timeout(LONGEST_MS)]);
  const slot = takeRun(call);
  try {
    const events = await withKey(call, context, async (access) => {
      await refuseForeignFlow(call, access, flowId);
      return access.langflow.streamRun(access.key, flowId, run, signal);
    });
    for await (const event of events)
      yield event.kind === 'end' ? { kind: 'end', outcome: outcomeOf(event.answer, run.sessionId) } : event;
  } catch (error) {
    throw langflowFailure(error, context);
  } finally {
    leaving.abort();
    slot.done();
  }
}
