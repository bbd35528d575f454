import { fieldInvalid } from '../../base/error.ts';
import { settled } from '../../clients/langflow/settled.ts';
import type { JsonObject } from '../../model/json.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { type Flow, flowFrom } from './flow.ts';
import { withKey } from './with-key.ts';

export type NewFlow = {
  name: string;
  description: string;
  data: JsonObject;
  folderId: string;
  endpointName: string;
  tags: string[];
};

/** Makes a flow; it is sent once. Fails with FIELD_INVALID, too. */
export async function createFlow(call: Call, { data, folderId, endpointName, ...flow }: NewFlow): Promise<Flow> {
  const filled = Object.keys(data).length > 0;
  if (filled && !(Array.isArray(data.nodes) && Array.isArray(data.edges)))
    throw fieldInvalid('data', 'must have the lists nodes and edges');
  const body = {
    ...{ ...flow, data: filled ? data : { nodes: [], edges: [] } },
    ...(folderId ? { folder_id: folderId } : {}),
    ...(endpointName ? { endpoint_name: endpointName } : {}),
  };
  const { signal } = call;
  const document = await withKey(call, { operation: 'create' }, async ({ langflow, key }) => {
    const made = await langflow.createFlow(key, body, signal);
    // Who is told of a flow finds it.
    await settled(() => langflow.getFlow(key, String(made.id), signal)).catch(() => {});
    return made;
  });
  const created = flowFrom(document, { withData: true });
  await change(call, async (em) =>
    audit(em, call, 'flow_created', { type: 'flow', id: created.id }, { after: { name: created.name } }),
  );
  return created;
}
