import { errors, jwtVerify, SignJWT } from 'jose';
import { type Asked, cookieOf, Refusal } from './http.ts';
import type { User, World } from './world.ts';

type TokenType = 'access' | 'refresh';

const WORDS = {
  'built-in': {
    noCredential: 'An API key must be passed as query or header',
    badKey: 'Invalid or missing API key',
    expired: 'Token has expired.',
    badToken: 'Could not validate credentials',
    inactive: 'Inactive user',
  },
  pluggable: {
    noCredential: 'No authentication credentials provided',
    badKey: 'Invalid API key',
    expired: 'Token has expired',
    badToken: 'Invalid token',
    inactive: 'User account is inactive',
  },
} as const;

/** Two that are made for one user in the same second are the same, as there is nothing else in them. */
export function sign(world: World, user: User, type: TokenType): Promise<string> {
  const lifetime = type === 'access' ? world.switches.accessTokenS : world.switches.refreshTokenS;
  return new SignJWT({ sub: user.id, type, exp: Math.floor(world.now() / 1000) + lifetime })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(world.secret);
}

/** The id of the user that a token is of. Fails with an error of jose. */
export async function verify(world: World, token: string, type: TokenType): Promise<string> {
  const options = { algorithms: ['HS256'], currentDate: new Date(world.now()) };
  const { payload } = await jwtVerify(token, world.secret, options);
  if (world.switches.checksTokenType && payload.type !== type) throw new errors.JWTInvalid('Not such a token');
  return payload.sub ?? '';
}

/** The active user who calls, by a token or a key. A bad token is not made good by a key. */
export async function callerOf(world: World, asked: Asked): Promise<User> {
  const token = tokenOf(world, asked);
  const user = token ? await userOfToken(world, token) : userOfKey(world, asked, words(world));
  if (user.is_active) return user;
  throw unauthorized(words(world).inactive);
}

export async function superuserOf(world: World, asked: Asked): Promise<User> {
  const user = await callerOf(world, asked);
  if (user.is_superuser) return user;
  throw new Refusal(403, "The user doesn't have enough privileges");
}

/** The owner of the key, which is all that a run takes, even if the user is not active. Its words did not change with #10702. */
export function runnerOf(world: World, asked: Asked): User {
  return userOfKey(world, asked, WORDS['built-in']);
}

/** Who seems to call, for the record: `admin`, a username, `unknown` for a key that is not there, `bearer`, or `none`. */
export function credentialOf(world: World, asked: Asked): string {
  if (bearerOf(asked)) return 'bearer';
  const presented = keyOf(asked);
  if (!presented) return 'none';
  if (presented === world.environmentKey) return world.admin.username;
  const key = world.keys.all().find(({ api_key }) => api_key === presented);
  return world.users.all().find(({ id }) => id === key?.user_id)?.username ?? 'unknown';
}

function words(world: World) {
  return WORDS[world.switches.auth];
}

function unauthorized(detail: string): Refusal {
  return new Refusal(401, detail, { 'www-authenticate': 'Bearer' });
}

function bearerOf({ headers }: Asked): string | undefined {
  return /^bearer +(.+)$/i.exec(headers.authorization ?? '')?.[1];
}

function tokenOf(world: World, asked: Asked): string | undefined {
  return bearerOf(asked) ?? (world.switches.auth === 'pluggable' ? cookieOf(asked, 'access_token_lf') : undefined);
}

function keyOf({ query, headers }: Asked): string | undefined {
  return query.get('x-api-key') || headers['x-api-key']?.toString() || undefined;
}

async function userOfToken(world: World, token: string): Promise<User> {
  const id = await verify(world, token, 'access').catch((error: unknown) => {
    throw unauthorized(error instanceof errors.JWTExpired ? words(world).expired : words(world).badToken);
  });
  const user = world.users.find((candidate) => candidate.id === id);
  if (world.switches.auth === 'built-in' && !user?.is_active) throw unauthorized('User not found or is inactive.');
  if (!user) throw new Refusal(403, 'User not found');
  return user;
}

function userOfKey(world: World, asked: Asked, { noCredential, badKey }: { noCredential: string; badKey: string }) {
  const presented = keyOf(asked);
  if (!presented) throw new Refusal(403, noCredential);
  if (presented === world.environmentKey) return world.admin;
  const key = world.keys.find(({ api_key }) => api_key === presented);
  const user = key && world.users.find(({ id }) => id === key.user_id);
  if (!user || (world.switches.sealsKeys && key.secret !== world.secret)) throw new Refusal(403, badKey);
  Object.assign(key, { last_used_at: world.localTime(), total_uses: key.total_uses + 1 });
  return user;
}
