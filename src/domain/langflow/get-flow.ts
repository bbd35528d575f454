import type { Call } from '../call.ts';
import { type Flow, flowFrom } from './flow.ts';
import { withKey } from './with-key.ts';

/** A flow with its data. Fails with FLOW_NOT_FOUND, too. */
export async function getFlow(call: Call, flowId: string): Promise<Flow> {
  const { signal } = call;
  const document = await withKey(call, { operation: 'flow', flowId }, ({ langflow, key }) =>
    langflow.getFlow(key, flowId, signal),
  );
  return flowFrom(document, { withData: true });
}
