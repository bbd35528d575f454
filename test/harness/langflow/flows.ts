import {
  type Answer,
  type Asked,
  BOOLEAN,
  bodyOf,
  DICTIONARY,
  flagOf,
  LIST,
  members,
  oneOf,
  Refusal,
  STRING,
  uuidOf,
  wholeOf,
} from './http.ts';
import { callerOf } from './identity.ts';
import type { Flow, User, World } from './world.ts';

const FIELDS = {
  ...{ name: STRING, description: STRING, icon: STRING, icon_bg_color: STRING, gradient: STRING, data: DICTIONARY },
  ...{ is_component: BOOLEAN, webhook: BOOLEAN, endpoint_name: STRING, tags: LIST, locked: BOOLEAN },
  ...{ mcp_enabled: BOOLEAN, action_name: STRING, action_description: STRING },
  ...{ access_type: oneOf('PRIVATE', 'PUBLIC'), folder_id: STRING, fs_path: STRING },
};

type NewFlow = Partial<Flow> & { name: string };

export async function listFlows(world: World, asked: Asked): Promise<Answer> {
  const caller = await callerOf(world, asked);
  const { pagesFlows, listsExamples, gzipsFlows } = world.switches;
  const own = world.flows.see(({ user_id }) => user_id === caller.id);
  const examples = listsExamples ? world.flows.see(({ user_id }) => user_id === null) : [];
  const flows = [...own, ...examples].filter((flow) => flow.is_component || !flagOf(asked, 'components_only', false));
  if (!pagesFlows) return { status: 200, body: flows };
  if (!flagOf(asked, 'get_all', true)) return page(world, asked, caller, flows);
  const headersOnly = flagOf(asked, 'header_flows', false);
  return { status: 200, body: headersOnly ? flows.map(headerOf) : flows, gzip: gzipsFlows };
}

export async function createFlow(world: World, asked: Asked): Promise<Answer> {
  const body = bodyOf(asked);
  const caller = await callerOf(world, asked);
  const fields = fieldsOf(body);
  const flow = world.addFlow(caller, { ...fields, ...freeNames(world, caller, fields) }, world.switches.commitLag);
  return { status: 201, body: flow };
}

export async function getFlow(world: World, asked: Asked): Promise<Answer> {
  const caller = await callerOf(world, asked);
  return { status: 200, body: ownFlow(world, caller, uuidOf(asked, 'flow_id')) };
}

export async function updateFlow(world: World, asked: Asked): Promise<Answer> {
  const body = bodyOf(asked);
  const caller = await callerOf(world, asked);
  const flow = ownFlow(world, caller, uuidOf(asked, 'flow_id'));
  const { folder_id: _, ...changes } = checked(members(body, FIELDS));
  Object.assign(flow, changes, { updated_at: world.zonedTime() });
  return { status: 200, body: flow };
}

/** Creates the flow under this id, or changes it: the one way to create a flow that can be tried twice. */
export async function putFlow(world: World, asked: Asked): Promise<Answer> {
  const body = bodyOf(asked);
  const caller = await callerOf(world, asked);
  const id = uuidOf(asked, 'flow_id');
  const fields = fieldsOf(body);
  const others = world.flows.all().filter((flow) => flow.user_id === caller.id && flow.id !== id);
  if (others.some(({ name }) => name === fields.name)) throw new Refusal(409, 'Name must be unique');
  if (world.flows.all().some((flow) => flow.id === id)) {
    const flow = Object.assign(ownFlow(world, caller, id), fields, { updated_at: world.zonedTime() });
    return { status: 200, body: flow };
  }
  return { status: 201, body: world.addFlow(caller, { ...fields, id }, world.switches.commitLag) };
}

export async function deleteFlow(world: World, asked: Asked): Promise<Answer> {
  const caller = await callerOf(world, asked);
  const { id } = ownFlow(world, caller, uuidOf(asked, 'flow_id'));
  world.flows.delete((flow) => flow.id === id);
  return { status: 200, body: { message: 'Flow deleted successfully' } };
}

/** Those of others are as good as not there. */
function ownFlow(world: World, caller: User, id: string): Flow {
  const flow = world.flows.find((candidate) => candidate.id === id && candidate.user_id === caller.id);
  if (flow) return flow;
  throw new Refusal(404, 'Flow not found');
}

function page(world: World, asked: Asked, caller: User, flows: Flow[]): Answer {
  const [number, size] = [wholeOf(asked, 'page', 1), wholeOf(asked, 'size', 50)];
  const folder = asked.query.get('folder_id') ?? world.folderOf(caller);
  const inside = flows.filter(({ folder_id }) => folder_id === folder);
  const items = inside.slice((number - 1) * size, number * size);
  const pages = Math.ceil(inside.length / size);
  return { status: 200, body: { items, total: inside.length, page: number, size, pages } };
}

function headerOf({ data: _, ...header }: Flow) {
  return header;
}

/** There are no folders but the default one, so whatever the body says it goes there. */
function fieldsOf(body: unknown): NewFlow {
  const { folder_id: _, ...fields } = checked(members(body, FIELDS, ['name']));
  return fields as NewFlow;
}

function checked(fields: Partial<Flow>): Partial<Flow> {
  const { data, endpoint_name, icon_bg_color } = fields;
  const filled = data && Object.keys(data).length > 0;
  if (filled && !data.nodes) throw new Refusal(422, 'Flow must have nodes');
  if (filled && !data.edges) throw new Refusal(422, 'Flow must have edges');
  if (endpoint_name && !/^[a-zA-Z0-9_-]+$/.test(endpoint_name))
    throw new Refusal(422, 'Endpoint name must contain only letters, numbers, hyphens, and underscores');
  if (icon_bg_color && !/^#[0-9a-f]{6}$/i.test(String(icon_bg_color)))
    throw new Refusal(422, 'Icon background color must be a valid hex code');
  return fields;
}

/** A name that is taken is not refused but numbered. */
function freeNames(world: World, caller: User, { name, endpoint_name = null }: NewFlow) {
  const own = world.flows.all().filter(({ user_id }) => user_id === caller.id);
  return {
    name: free(name, new Set(own.map((flow) => flow.name)), (number) => `${name} (${number})`),
    endpoint_name:
      endpoint_name &&
      free(endpoint_name, new Set(own.map((flow) => flow.endpoint_name)), (number) => `${endpoint_name}-${number}`),
  };
}

function free(wanted: string, taken: Set<string | null>, numbered: (number: number) => string): string {
  if (!taken.has(wanted)) return wanted;
  let number = 1;
  while (taken.has(numbered(number))) number += 1;
  return numbered(number);
}
