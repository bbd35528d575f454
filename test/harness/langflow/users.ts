import {
  type Answer,
  type Asked,
  BOOLEAN,
  bodyOf,
  DICTIONARY,
  members,
  Refusal,
  STRING,
  uuidOf,
  wholeOf,
} from './http.ts';
import { callerOf, superuserOf } from './identity.ts';
import type { User, World } from './world.ts';

const NEW = { username: STRING, password: STRING, optins: DICTIONARY };
const CHANGES = {
  ...{ username: STRING, profile_image: STRING, password: STRING, is_active: BOOLEAN, is_superuser: BOOLEAN },
  ...{ last_login_at: STRING, optins: DICTIONARY },
};

/** `is_active` in the body means nothing. */
export async function createUser(world: World, asked: Asked): Promise<Answer> {
  const body = bodyOf(asked);
  await admitSignUp(world, asked);
  const { username, password, optins } = members(body, NEW, ['username', 'password']) as Pick<
    User,
    'username' | 'password' | 'optins'
  >;
  const hash = hashOf(password);
  refuseTaken(world, username);
  const user = world.addUser(username, hash, { optins: optins ?? null }, world.switches.commitLag);
  return { status: 201, body: shown(user) };
}

export async function listUsers(world: World, asked: Asked): Promise<Answer> {
  await superuserOf(world, asked);
  const [skip, limit] = [wholeOf(asked, 'skip', 0), wholeOf(asked, 'limit', 10)];
  const search = world.switches.searchesUsers ? (asked.query.get('search') ?? '').toLowerCase() : '';
  const found = world.users.see(({ username }) => username.toLowerCase().includes(search));
  return { status: 200, body: { total_count: found.length, users: found.slice(skip, skip + limit).map(shown) } };
}

export async function whoAmI(world: World, asked: Asked): Promise<Answer> {
  return { status: 200, body: shown(await callerOf(world, asked)) };
}

export async function updateUser(world: World, asked: Asked): Promise<Answer> {
  const body = bodyOf(asked);
  const caller = await callerOf(world, asked);
  const id = uuidOf(asked, 'user_id');
  const changes = members(body, CHANGES) as Partial<User>;
  if (caller.id === id && changes.is_active === false)
    throw new Refusal(403, "You can't deactivate your own user account");
  if (!caller.is_superuser && (changes.is_superuser || caller.id !== id)) throw new Refusal(403, 'Permission denied');
  if (!caller.is_superuser && changes.password) throw new Refusal(400, "You can't change your password here");
  if (changes.password) changes.password = hashOf(changes.password);
  const user = world.users.find((candidate) => candidate.id === id);
  if (!user) throw new Refusal(404, 'User not found');
  if (changes.username && changes.username !== user.username) refuseTaken(world, changes.username);
  const given = Object.entries(changes).filter(([, value]) => value !== null);
  Object.assign(user, Object.fromEntries(given), { updated_at: world.localTime() });
  return { status: 200, body: shown(user) };
}

export async function deleteUser(world: World, asked: Asked): Promise<Answer> {
  const caller = await superuserOf(world, asked);
  const id = uuidOf(asked, 'user_id');
  if (caller.id === id) throw new Refusal(400, "You can't delete your own user account");
  const user = world.users.find((candidate) => candidate.id === id);
  if (!user) throw new Refusal(404, 'User not found');
  world.deleteUser(user);
  return { status: 200, body: { detail: 'User deleted' } };
}

async function admitSignUp(world: World, asked: Asked): Promise<void> {
  const { signUp, enableSignUp } = world.switches;
  if (signUp === 'superuser') await superuserOf(world, asked);
  if (signUp !== 'setting' || enableSignUp) return;
  await superuserOf(world, asked).catch(() => {
    throw new Refusal(403, 'Public user registration is disabled.');
  });
}

function refuseTaken(world: World, username: string): void {
  const taken = world.users.all().some((user) => user.username === username);
  if (taken) throw new Refusal(400, 'This username is unavailable.');
}

/** What bcrypt throws, nobody catches. It is kept as it is, so that tests can log in with it. */
function hashOf(password: string): string {
  if (Buffer.byteLength(password) <= 72) return password;
  throw new Error('password cannot be longer than 72 bytes, truncate manually if necessary (e.g. my_password[:72])');
}

function shown({ password: _, ...read }: User) {
  return read;
}
