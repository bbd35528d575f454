import { type Answer, type Asked, bodyOf, members, Refusal, STRING, uuidOf } from './http.ts';
import { callerOf } from './identity.ts';
import type { ApiKey, World } from './world.ts';

/** For the caller alone. The key is shown this once. */
export async function createKey(world: World, asked: Asked): Promise<Answer> {
  const body = bodyOf(asked);
  const caller = await callerOf(world, asked);
  const { name } = members(body, { name: STRING }) as { name?: string };
  const { id, api_key, user_id } = world.addKey(caller, { name: name ?? null }, world.switches.commitLag);
  const unused = { last_used_at: null, total_uses: 0, is_active: true };
  return { status: 200, body: { name: name ?? null, ...unused, id, api_key, user_id } };
}

export async function listKeys(world: World, asked: Asked): Promise<Answer> {
  const { id } = await callerOf(world, asked);
  const keys = world.keys.see(({ user_id }) => user_id === id);
  return { status: 200, body: { total_count: keys.length, user_id: id, api_keys: keys.map(masked) } };
}

export async function deleteKey(world: World, asked: Asked): Promise<Answer> {
  const caller = await callerOf(world, asked);
  const id = uuidOf(asked, 'api_key_id');
  const key = world.keys.find((candidate) => candidate.id === id);
  if (!key || (world.switches.checksKeyOwner && key.user_id !== caller.id)) throw new Refusal(400, 'API Key not found');
  world.keys.delete((candidate) => candidate.id === id);
  return { status: 200, body: { detail: 'API Key deleted' } };
}

function masked({ secret: _, api_key, ...key }: ApiKey) {
  return { ...key, api_key: `${api_key.slice(0, 8)}${'*'.repeat(api_key.length - 8)}` };
}
