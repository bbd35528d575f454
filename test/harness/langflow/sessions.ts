import { type Answer, type Asked, cookieOf, invalid, missing, Refusal } from './http.ts';
import { sign, verify } from './identity.ts';
import type { User, World } from './world.ts';

const MINUTE_MS = 60_000;

export async function login(world: World, asked: Asked): Promise<Answer> {
  const { username, password } = credentialsOf(asked);
  const wait = secondsToWait(world, asked.ip);
  if (wait > 0) return tooMany(wait);
  const user = authenticate(world, username, password);
  const answer = await tokens(world, user);
  user.last_login_at = world.localTime();
  const cookies = [answer.headers?.['set-cookie'] ?? []].flat();
  const storeKey = `apikey_tkn_lflw=${user.store_api_key ?? 'None'}; Path=/; ${world.switches.accessCookie}`;
  return { ...answer, headers: { 'set-cookie': [...cookies, storeKey] } };
}

/** The refresh token is taken from the cookie alone, and stays good. */
export async function refresh(world: World, asked: Asked): Promise<Answer> {
  const refused = new Refusal(401, 'Invalid refresh token', { 'www-authenticate': 'Bearer' });
  const id = await verify(world, cookieOf(asked, 'refresh_token_lf') ?? '', 'refresh').catch(() => {
    throw refused;
  });
  const user = world.users.find((candidate) => candidate.id === id);
  if (!user) throw refused;
  if (world.switches.auth === 'pluggable' && !user.is_active) throw new Refusal(401, 'User account is inactive');
  return tokens(world, user);
}

/** Forgets the cookies; the tokens stay good. */
export function logout(): Answer {
  const names = ['refresh_token_lf', 'access_token_lf', 'apikey_tkn_lflw'];
  const cookies = names.map((name) => `${name}=""; Max-Age=0; Path=/; SameSite=lax`);
  return { status: 200, headers: { 'set-cookie': cookies }, body: { message: 'Logout successful' } };
}

export function autoLogin({ switches }: World): Answer {
  const { status, message } = switches.autoLoginOff;
  throw new Refusal(status, { message, auto_login: false });
}

function credentialsOf({ headers, text }: Asked): { username: string; password: string } {
  const isForm = headers['content-type']?.startsWith('application/x-www-form-urlencoded');
  const form = new URLSearchParams(isForm ? text : '');
  const [username, password] = [form.get('username'), form.get('password')];
  if (username && password) return { username, password };
  throw invalid(...['username', 'password'].filter((name) => !form.get(name)).map((name) => missing(name)));
}

/** A fixed window for each address, which knows nothing of proxies. */
function secondsToWait({ switches, logins, now }: World, ip: string): number {
  if (switches.loginsPerMinute === null) return 0;
  const known = logins.get(ip);
  const current = known && now() < known.until ? known : { count: 0, until: now() + MINUTE_MS };
  logins.set(ip, { ...current, count: current.count + 1 });
  return current.count >= switches.loginsPerMinute ? MINUTE_MS / 1000 : 0;
}

function tooMany(seconds: number): Answer {
  const body = { detail: 'Too many login attempts. Please try again later.', retry_after: seconds };
  return { status: 429, headers: { 'retry-after': String(seconds) }, body };
}

/** Whether the user is active is looked at before the password. */
function authenticate(world: World, username: string, password: string): User {
  const refused = new Refusal(401, 'Incorrect username or password', { 'www-authenticate': 'Bearer' });
  if (world.switches.refusesLegacyPassword && password === 'langflow') throw refused;
  const user = world.users.find((candidate) => candidate.username === username);
  if (!user) throw refused;
  if (!user.is_active && !user.last_login_at) throw new Refusal(400, 'Waiting for approval');
  if (!user.is_active) throw new Refusal(401, 'Inactive user');
  if (Buffer.byteLength(password) > 72) throw new Refusal(500, unexpected(world));
  if (user.password !== password) throw refused;
  return user;
}

function unexpected({ switches }: World): string {
  return switches.auth === 'built-in'
    ? 'password cannot be longer than 72 bytes, truncate manually if necessary (e.g. my_password[:72])'
    : 'An unexpected error occurred during authentication.';
}

/** When they expire is said nowhere but in the tokens. */
async function tokens(world: World, user: User): Promise<Answer> {
  const { accessTokenS, refreshTokenS, accessCookie, refreshCookie } = world.switches;
  const [access, renewal] = [await sign(world, user, 'access'), await sign(world, user, 'refresh')];
  const expires = (seconds: number) => `expires=${new Date(world.now() + seconds * 1000).toUTCString()}`;
  const cookies = [
    `refresh_token_lf=${renewal}; ${expires(refreshTokenS)}; HttpOnly; Path=/; ${refreshCookie}`,
    `access_token_lf=${access}; ${expires(accessTokenS)}; Path=/; ${accessCookie}`,
  ];
  const body = { access_token: access, refresh_token: renewal, token_type: 'bearer' };
  return { status: 200, headers: { 'set-cookie': cookies }, body };
}
