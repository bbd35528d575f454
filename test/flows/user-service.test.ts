import { inspect } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LatchkeyError, StartError } from '../../src/base/error.ts';
import { UserService } from '../../src/clients/user-service.ts';
import { readConfig } from '../../src/config.ts';
import { Egress } from '../../src/egress/egress.ts';
import { type Trouble, UserServiceServer } from '../harness/user-service.ts';

const ACCOUNT = { langflowUserId: 'lf-1', username: 'ada-at-latchkey', password: 'planted-pw', apiKey: 'planted-key' };
const EMPTY = { langflowUserId: '', username: '', password: '', apiKey: '' };
const UNAVAILABLE = { reason: 'USER_SERVICE_UNAVAILABLE', retryAfterMs: 5_000 };
const REFUSED = { reason: 'INTEGRATION_MISCONFIGURED', metadata: { provider_error: 'user_service_refused' } };
const UNSENDABLE = { reason: 'INTEGRATION_MISCONFIGURED', metadata: { provider_error: 'user_id_unsendable' } };

let server: UserServiceServer;
let door: Egress;
let service: UserService;
beforeAll(async () => {
  door = new Egress({ allow: ['127.0.0.1'] });
  server = await UserServiceServer.start();
  service = clientOf(server);
});
beforeEach(() => server.reset());
afterAll(async () => {
  await door.close();
  await server.stop();
});

function clientOf({ url, secret }: UserServiceServer, env: Record<string, string> = {}, through = door): UserService {
  const config = readConfig({ USER_SERVICE_URL: url, USER_SERVICE_SECRET: secret, ...env });
  return new UserService(config.userService!, through);
}

async function failureOf(call: Promise<unknown>): Promise<LatchkeyError> {
  const error = await call.then(
    () => null,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(LatchkeyError);
  return error;
}

/** All that an error holds, down to its last cause. */
function shown(error: unknown): string {
  if (!(error instanceof Error)) return JSON.stringify(error) ?? '';
  const { message, stack, cause } = error;
  return [message, stack, JSON.stringify(error), inspect(error, { depth: 10, showHidden: true }), shown(cause)].join();
}

/** ms between the requests. */
const pauses = () => server.requests.slice(1).map(({ at }, index) => at - server.requests[index]!.at);

describe('A record', () => {
  it('is none where the service knows none', async () => {
    expect(await service.find('ada')).toBeNull();
    expect(server.requests).toMatchObject([
      {
        ...{ method: 'GET', path: '/langflow-users/me' },
        headers: { authorization: `Bearer ${server.secret}`, 'x-user-id': 'ada' },
      },
    ]);
  });

  it('is made where there is none, changed where there is one, and found', async () => {
    await service.keep('ada', ACCOUNT);
    expect(server.methods).toEqual(['PATCH', 'POST']);
    expect(server.records.get('ada')).toEqual({ userId: 'ada', ...ACCOUNT });
    await service.keep('ada', { ...ACCOUNT, apiKey: 'another' });
    expect(server.methods).toEqual(['PATCH', 'POST', 'PATCH']);
    expect(await service.find('ada')).toEqual({ ...ACCOUNT, apiKey: 'another' });
    expect(await service.find('bob')).toBeNull();
  });

  it('is emptied to forget it, and made again over that', async () => {
    await service.keep('ada', ACCOUNT);
    await service.forget('ada');
    expect(server.records.get('ada')).toEqual({ userId: 'ada', ...EMPTY });
    expect(await service.find('ada')).toBeNull();
    await service.keep('ada', ACCOUNT);
    expect(await service.find('ada')).toEqual(ACCOUNT);
  });

  it('that is not there is forgotten already', async () => {
    await service.forget('ada');
    expect(server.records.size).toBe(0);
  });

  it.each(['langflowUserId', 'username', 'password'])('without %s is none', async (field) => {
    server.records.set('ada', { ...ACCOUNT, [field]: undefined });
    expect(await service.find('ada')).toBeNull();
    server.records.set('ada', { ...ACCOUNT, [field]: '' });
    expect(await service.find('ada')).toBeNull();
    server.records.set('ada', { ...ACCOUNT, [field]: { $ne: '' } });
    expect(await service.find('ada')).toBeNull();
  });

  it('may lack the key, and have more than we know', async () => {
    server.records.set('ada', { ...ACCOUNT, apiKey: null, id: 7, createdAt: '2024-01-01' });
    expect(await service.find('ada')).toEqual({ ...ACCOUNT, apiKey: '' });
  });
});

describe('A user id', () => {
  it.each(['auth0|ada', 'a/../b', '%2e%2e', '?x=1#y', 'a+b@example.com', '{userId}', '$&', '...'])(
    'can be %s',
    async (userId) => {
      await service.keep(userId, ACCOUNT);
      await service.keep(userId, ACCOUNT);
      expect(await service.find(userId)).toEqual(ACCOUNT);
      expect([...server.records.keys()]).toEqual([userId]);
    },
  );

  it.each(['', 'José', 'a b', 'a\r\nx-user-id: b', 'tab\t', '\ud800', '.', '..'])(
    'that cannot be sent is refused: %j',
    async (userId) => {
      expect(await failureOf(service.find(userId))).toMatchObject(UNSENDABLE);
      expect(await failureOf(service.keep(userId, ACCOUNT))).toMatchObject(UNSENDABLE);
      expect(await failureOf(service.forget(userId))).toMatchObject(UNSENDABLE);
      expect(server.requests).toEqual([]);
    },
  );
});

describe('Another try', () => {
  it('follows each passing failure, after a growing pause', async () => {
    await service.keep('ada', ACCOUNT);
    server.requests.length = 0;
    server.troubles.push({ status: 503 }, { status: 429 });
    expect(await service.find('ada')).toEqual(ACCOUNT);
    const [first, second] = pauses();
    expect(first).toBeGreaterThanOrEqual(195);
    expect(second).toBeGreaterThanOrEqual(795);
  });

  it('is the third at most', async () => {
    server.down = { status: 500 };
    expect(await failureOf(service.find('ada'))).toMatchObject(UNAVAILABLE);
    expect(server.methods).toEqual(['GET', 'GET', 'GET']);
  });

  it.each([
    ['seconds', '1', 995, 1_900],
    ['no more seconds than two', '3600', 1_995, 3_000],
    ['a date, no further off than two seconds', new Date(Date.now() + 3_600_000).toUTCString(), 1_995, 3_000],
    ['nothing that can be read', 'soon', 195, 900],
  ])('waits as Retry-After says: %s', async (_, value, least, most) => {
    server.troubles.push({ status: 429, headers: { 'retry-after': value } });
    expect(await service.find('ada')).toBeNull();
    expect(pauses()).toHaveLength(1);
    expect(pauses()[0]).toBeGreaterThanOrEqual(least);
    expect(pauses()[0]).toBeLessThan(most);
  });

  it('follows an answer that does not come in 3 s', async () => {
    server.troubles.push('silent');
    expect(await service.find('ada')).toBeNull();
    expect(pauses()[0]).toBeGreaterThanOrEqual(3_195);
    expect(pauses()[0]).toBeLessThan(4_500);
  });

  it('finds what a POST made whose answer was lost, and changes that', async () => {
    server.troubles.push({ status: 404 }, 'lost');
    await service.keep('ada', ACCOUNT);
    expect(server.methods).toEqual(['PATCH', 'POST', 'POST', 'PATCH']);
    expect(server.records.get('ada')).toEqual({ userId: 'ada', ...ACCOUNT });
  });

  it('repeats a PATCH whose answer was lost', async () => {
    server.records.set('ada', { userId: 'ada', ...EMPTY });
    server.troubles.push('lost');
    await service.keep('ada', ACCOUNT);
    server.troubles.push('lost');
    await service.forget('ada');
    expect(server.methods).toEqual(['PATCH', 'PATCH', 'PATCH', 'PATCH']);
    expect(server.records.get('ada')).toEqual({ userId: 'ada', ...EMPTY });
  });

  it('does not follow a refusal', async () => {
    server.down = { status: 400 };
    expect(await failureOf(service.find('ada'))).toMatchObject(REFUSED);
    expect(server.methods).toEqual(['GET']);
  });

  it('is not made through a door that is closed', async () => {
    const closed = new Egress({ allow: ['127.0.0.1'] });
    await closed.close();
    const start = performance.now();
    expect(await failureOf(clientOf(server, {}, closed).find('ada'))).toMatchObject(UNAVAILABLE);
    expect(performance.now() - start).toBeLessThan(190);
  });
});

describe('A service that', () => {
  it('is not there is unavailable', async () => {
    const gone = await UserServiceServer.start();
    await gone.stop();
    expect(await failureOf(clientOf(gone).keep('ada', ACCOUNT))).toMatchObject(UNAVAILABLE);
  });

  it('may not be reached is not', async () => {
    const narrow = new Egress({ allow: [] });
    const failure = await failureOf(clientOf(server, {}, narrow).find('ada'));
    expect(failure).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
    await narrow.close();
    expect(server.requests).toEqual([]);
  });

  it('knows another secret refuses', async () => {
    const wrong = clientOf(server, { USER_SERVICE_SECRET: 'another-secret-than-that' });
    expect(await failureOf(wrong.find('ada'))).toMatchObject(REFUSED);
    expect(await failureOf(wrong.keep('ada', ACCOUNT))).toMatchObject(REFUSED);
    expect(await failureOf(wrong.forget('ada'))).toMatchObject(REFUSED);
    expect(server.records.size).toBe(0);
    expect(server.methods).toEqual(['GET', 'PATCH', 'PATCH']);
  });

  it.each([400, 401, 403, 405, 410, 413, 422])('answers %i refuses', async (status) => {
    server.down = { status };
    expect(await failureOf(service.find('ada'))).toMatchObject(REFUSED);
    expect(await failureOf(service.keep('ada', ACCOUNT))).toMatchObject(REFUSED);
    expect(await failureOf(service.forget('ada'))).toMatchObject(REFUSED);
  });

  it('knows neither record nor path refuses, and so does one that never settles', async () => {
    server.down = { status: 404 };
    expect(await failureOf(service.keep('ada', ACCOUNT))).toMatchObject(REFUSED);
    expect(server.methods).toEqual(['PATCH', 'POST']);
    server.down = null;
    server.troubles.push({ status: 404 }, { status: 409 }, { status: 404 });
    expect(await failureOf(service.keep('ada', ACCOUNT))).toMatchObject(REFUSED);
    server.troubles.push({ status: 409 });
    expect(await failureOf(service.keep('ada', ACCOUNT))).toMatchObject(REFUSED);
  });

  it.each([301, 302, 304, 307, 308])('redirects with %i is unavailable, and not followed', async (status) => {
    server.down = { status, headers: { location: `${server.url}/langflow-users/me` } };
    expect(await failureOf(service.find('ada'))).toMatchObject(UNAVAILABLE);
    expect(await failureOf(service.keep('ada', ACCOUNT))).toMatchObject(UNAVAILABLE);
    expect(server.methods).toEqual(['GET', 'PATCH']);
  });

  it.each(['<!doctype html><title>Log in</title>', '', 'null', '[]', '"ada"', `{"password":"${ACCOUNT.password}`])(
    'answers no JSON object is unavailable: %s',
    async (body) => {
      server.troubles.push({ status: 200, headers: { 'content-type': 'text/html' }, body });
      expect(await failureOf(service.find('ada'))).toMatchObject(UNAVAILABLE);
      expect(server.methods).toEqual(['GET']);
    },
  );

  it('answers a change with something else than JSON has made it', async () => {
    server.down = { status: 200, body: 'OK' };
    await service.keep('ada', ACCOUNT);
    server.down = { status: 204 };
    await service.forget('ada');
    expect(server.methods).toEqual(['PATCH', 'PATCH']);
  });
});

describe('An error', () => {
  it('holds no secret, password or key, whatever the service answers', async () => {
    const told = `${server.secret} ${JSON.stringify(ACCOUNT)}`;
    const headers = { location: `${server.url}/?${encodeURIComponent(told)}`, 'x-debug': told, 'retry-after': told };
    const telling = (status: number, body = told): Trouble => ({ status, headers, body });
    const troubles = [
      ...[200, 302, 400, 401, 403, 409, 422].map((status) => telling(status)),
      telling(200, ACCOUNT.password),
    ];
    const passing: Trouble[] = [telling(500), telling(429), 'lost'];
    const failures: string[] = [];
    for (const trouble of [...troubles, ...passing]) {
      server.down = trouble;
      const calls = [service.find('ada'), service.keep('ada', ACCOUNT), service.forget('ada')];
      for (const outcome of await Promise.allSettled(calls)) {
        if (outcome.status === 'rejected') failures.push(shown(outcome.reason));
      }
    }
    failures.push(shown(await failureOf(service.keep('José', ACCOUNT))), inspect(service, { showHidden: true }));
    expect(failures.length).toBeGreaterThan(25);
    expect(failures.join()).toContain('the user-service answered PATCH with 403');
    for (const text of failures) {
      for (const secret of [server.secret, ACCOUNT.password, ACCOUNT.apiKey]) expect(text).not.toContain(secret);
    }
  });
});

describe('The settings', () => {
  const given = { USER_SERVICE_URL: 'https://users.example/api/', USER_SERVICE_SECRET: 'sixteen-of-them!' };
  const faultsOf = (env: Record<string, string>) => {
    try {
      readConfig({ ...given, ...env });
      return '';
    } catch (error) {
      expect(error).toBeInstanceOf(StartError);
      return String(error);
    }
  };

  it('name no user-service by default', () => {
    expect(readConfig({}).userService).toBeNull();
  });

  it('have defaults, and do not change', () => {
    const { userService } = readConfig(given);
    expect(userService).toEqual({
      ...{ url: 'https://users.example/api', secret: 'sixteen-of-them!' },
      paths: { get: '/langflow-users/me', create: '/langflow-users', update: '/langflow-users/{userId}' },
      fields: {
        ...{ userId: 'userId', langflowUserId: 'langflowUserId', username: 'username' },
        ...{ password: 'password', apiKey: 'apiKey' },
      },
    });
    for (const part of [userService, userService?.paths, userService?.fields]) expect(Object.isFrozen(part)).toBe(true);
  });

  it('need a secret, and never show it', () => {
    expect(faultsOf({ USER_SERVICE_SECRET: '' })).toContain('USER_SERVICE_SECRET');
    for (const secret of [
      'fifteen-of-them',
      'with a blank in between',
      'ends-with-a-line-break\n',
      'sechzehn-Schlüssel',
    ]) {
      expect(faultsOf({ USER_SERVICE_SECRET: secret })).toContain('USER_SERVICE_SECRET');
      expect(faultsOf({ USER_SERVICE_SECRET: secret })).not.toContain(secret);
    }
  });

  it('want https in production', () => {
    const plain = { USER_SERVICE_URL: 'http://users.example' };
    expect(faultsOf(plain)).toBe('');
    expect(faultsOf({ ...plain, NODE_ENV: 'production' })).toContain('USER_SERVICE_URL must be an https URL');
    expect(faultsOf({ NODE_ENV: 'production' })).not.toContain('USER_SERVICE');
    expect(faultsOf({ NODE_ENV: 'production', USER_SERVICE_URL: 'HTTPS://users.example' })).not.toContain(
      'USER_SERVICE',
    );
  });

  it.each([
    'users.example',
    'ftp://users.example',
    'https://u:p@users.example',
    'https://users.example/?',
    'https://a/#b',
  ])('want a URL to which paths can be added: not %s', (url) => {
    expect(faultsOf({ USER_SERVICE_URL: url })).toContain('USER_SERVICE_URL must');
  });

  it.each(['GET', 'CREATE', 'UPDATE'])('want a path that begins with /: %s', (which) => {
    expect(faultsOf({ [`USER_SERVICE_${which}_PATH`]: 'me' })).toContain(
      `USER_SERVICE_${which}_PATH must begin with /`,
    );
  });

  it.each([
    ['key=api_key', '"key=api_key"'],
    ['apiKey', '"apiKey"'],
    ['apiKey=', '"apiKey="'],
    ['apiKey=a=b', '"apiKey=a=b"'],
    ['__proto__=x', '"__proto__=x"'],
    ['apiKey=secret,password=secret', 'gives two fields one name'],
    ['apiKey=username', 'gives two fields one name'],
  ])('rename fields that there are, each to a name of its own: not %s', (renames, fault) => {
    const faults = faultsOf({ USER_SERVICE_FIELDS: renames });
    expect(faults).toContain('USER_SERVICE_FIELDS');
    expect(faults).toContain(fault);
  });

  it('can let two fields change their names', () => {
    const { userService } = readConfig({ ...given, USER_SERVICE_FIELDS: 'username=password, password = username' });
    expect(userService?.fields).toMatchObject({ username: 'password', password: 'username', apiKey: 'apiKey' });
  });
});

describe('Other paths and names', () => {
  it('are asked for, sent and read', async () => {
    const fields = { userId: 'user', langflowUserId: 'langflow_id', username: 'username', password: '__proto__' };
    const paths = {
      get: '/v2/users/{userId}/langflow',
      create: '/v2/langflow',
      update: '/v2/langflow/{userId}?full=1',
    };
    const renamed = await UserServiceServer.start({ paths, fields: { ...fields, apiKey: 'api_key' } });
    const client = clientOf(renamed, {
      ...{ USER_SERVICE_GET_PATH: paths.get, USER_SERVICE_CREATE_PATH: paths.create },
      USER_SERVICE_UPDATE_PATH: paths.update,
      USER_SERVICE_FIELDS: 'userId=user,langflowUserId=langflow_id,apiKey=api_key,password=__proto__',
    });
    await client.keep('auth0|ada', ACCOUNT);
    expect(renamed.requests.at(-1)).toMatchObject({ method: 'POST', path: paths.create });
    expect(JSON.parse(renamed.requests.at(-1)!.body)).toMatchObject({ user: 'auth0|ada', langflow_id: 'lf-1' });
    await client.keep('auth0|ada', { ...ACCOUNT, apiKey: 'another' });
    expect(renamed.requests.at(-1)).toMatchObject({ method: 'PATCH', path: '/v2/langflow/auth0%7Cada?full=1' });
    expect(renamed.records.get('auth0|ada')).toMatchObject({ username: ACCOUNT.username, api_key: 'another' });
    expect(await client.find('auth0|ada')).toEqual({ ...ACCOUNT, apiKey: 'another' });
    await client.forget('auth0|ada');
    expect(await client.find('auth0|ada')).toBeNull();
    await renamed.stop();
  });
});
