import { get, type IncomingMessage } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { decodeJwt } from 'jose';
import { afterEach, describe, expect, it } from 'vitest';
import { type LangflowFake, type LangflowOptions, startLangflow } from '../harness/langflow.ts';

const started: LangflowFake[] = [];

afterEach(async () => {
  for (const langflow of started.splice(0)) await langflow.close();
});

async function start(version: LangflowOptions['version'], options: Omit<LangflowOptions, 'version'> = {}) {
  const langflow = await startLangflow({ version, ...options });
  started.push(langflow);
  return langflow;
}

type Request = { key?: string; bearer?: string; cookie?: string; json?: unknown; form?: Record<string, string> };

function call(langflow: LangflowFake, method: string, path: string, request: Request = {}, init: RequestInit = {}) {
  const { key, bearer, cookie, json, form } = request;
  const headers = {
    ...(key ? { 'x-api-key': key } : {}),
    ...(bearer ? { authorization: `Bearer ${bearer}` } : {}),
    ...(cookie ? { cookie } : {}),
    ...(json === undefined ? {} : { 'content-type': 'application/json' }),
  };
  const body = json === undefined ? form && new URLSearchParams(form) : JSON.stringify(json);
  return fetch(`${langflow.url}${path}`, { method, headers, body: body ?? null, redirect: 'manual', ...init });
}

async function ask(...[langflow, method, path, request]: Parameters<typeof call>) {
  const response = await call(langflow, method, path, request);
  const body = await response.text();
  const json = response.headers.get('content-type') === 'application/json';
  return { status: response.status, headers: response.headers, body: json ? JSON.parse(body) : body };
}

const logIn = (langflow: LangflowFake, username: string, password: string) =>
  ask(langflow, 'POST', '/api/v1/login', { form: { username, password } });

/** A user with a key. */
function seed(langflow: LangflowFake, username = 'ada') {
  const user = langflow.addUser(username, 'her-password');
  return { user, key: langflow.addKey(user) };
}

describe('A fake Langflow', () => {
  it('lets those sign up whom its version lets', async () => {
    const json = { username: 'ada', password: 'her-password', is_active: true };
    const signUp = (langflow: LangflowFake, key?: string) =>
      ask(langflow, 'POST', '/api/v1/users/', { json, ...(key ? { key } : {}) });
    for (const version of ['1.0', '1.6', '1.8', '1.11'] as const)
      expect(await signUp(await start(version))).toMatchObject({ status: 201, body: { is_active: false } });
    const closed = await start('1.7');
    expect((await signUp(closed)).status).toBe(403);
    expect((await signUp(closed, closed.adminKey)).status).toBe(201);
    const disabled = await start('1.13', { switches: { enableSignUp: false } });
    expect((await signUp(disabled)).body).toEqual({ detail: 'Public user registration is disabled.' });
    expect((await signUp(disabled, disabled.adminKey)).status).toBe(201);
    expect(await signUp(disabled, disabled.adminKey)).toMatchObject({
      ...{ status: 400, body: { detail: 'This username is unavailable.' } },
    });
    expect(disabled.hits.map(({ credential }) => credential)).toEqual(['none', 'admin', 'admin']);
  });

  it('takes a user from sign-up to a run', async () => {
    const langflow = await start('1.6');
    const admin = { key: langflow.adminKey };
    const json = { username: 'ada', password: 'her-password' };
    const { body: user } = await ask(langflow, 'POST', '/api/v1/users/', { json });
    expect(user).not.toHaveProperty('password');
    expect(await logIn(langflow, 'ada', 'wrong')).toMatchObject({
      ...{ status: 400, body: { detail: 'Waiting for approval' } },
    });
    await ask(langflow, 'PATCH', `/api/v1/users/${user.id}`, { ...admin, json: { is_active: true } });
    const { body: tokens } = await logIn(langflow, 'ada', 'her-password');
    expect(Object.keys(tokens)).toEqual(['access_token', 'refresh_token', 'token_type']);
    const bearer = tokens.access_token;
    expect(decodeJwt(bearer)).toMatchObject({ sub: user.id, type: 'access', exp: expect.any(Number) });
    const { status, body: made } = await ask(langflow, 'POST', '/api/v1/api_key/', { bearer, json: { name: 'mine' } });
    expect({ status, key: made.api_key }).toEqual({ status: 200, key: expect.stringMatching(/^sk-[\w-]{43}$/) });
    const { body: listed } = await ask(langflow, 'GET', '/api/v1/api_key/', { bearer });
    expect(JSON.stringify(listed)).not.toContain(made.api_key);
    const flow = { name: 'Echo', data: { nodes: [], edges: [] } };
    const { body: created } = await ask(langflow, 'POST', '/api/v1/flows/', { key: made.api_key, json: flow });
    const again = await ask(langflow, 'POST', '/api/v1/flows/', { key: made.api_key, json: flow });
    expect([created.name, again.body.name]).toEqual(['Echo', 'Echo (1)']);
    const path = `/api/v1/run/${created.id}`;
    expect((await ask(langflow, 'POST', path, { bearer, json: {} })).status).toBe(403);
    const { body: result } = await ask(langflow, 'POST', path, { key: made.api_key, json: { input_value: 'hello' } });
    expect(result.session_id).toBe(created.id);
    expect(result.outputs[0].outputs[0].results.message.text).toBe('hello');
    await ask(langflow, 'DELETE', `/api/v1/users/${user.id}`, admin);
    expect([langflow.users.has('ada'), langflow.keys.length]).toEqual([false, 1]);
  });

  it('answers 404 as its version and its frontend do', async () => {
    const path = '/api/v1/flows/00000000-0000-4000-8000-000000000000';
    for (const version of ['1.0', '1.7', '1.8'] as const) {
      const langflow = await start(version);
      const { status, headers } = await ask(langflow, 'GET', path, { key: langflow.adminKey });
      expect([status, headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
      langflow.set({ frontend: false });
      expect((await ask(langflow, 'GET', path, { key: langflow.adminKey })).status).toBe(404);
    }
    const langflow = await start('1.11');
    const answer = await ask(langflow, 'GET', path, { key: langflow.adminKey });
    expect(answer).toMatchObject({ status: 404, body: { detail: 'Flow not found' } });
    const noUuid = await ask(langflow, 'GET', '/api/v1/flows/mine', { key: langflow.adminKey });
    expect(noUuid).toMatchObject({ status: 422, body: { detail: [{ type: 'uuid_parsing' }] } });
  });

  it('is strict about the slash at the end', async () => {
    const langflow = await start('1.11');
    const post = (path: string) => ask(langflow, 'POST', path, { json: {} });
    expect((await post('/api/v1/users')).status).toBe(405);
    expect((await post('/api/v1/login/')).status).toBe(405);
    expect((await ask(langflow, 'GET', '/api/v1/flows')).status).toBe(404);
    langflow.set({ frontend: false });
    const { status, headers } = await post('/api/v1/users?a=1');
    expect([status, headers.get('location')]).toEqual([307, `${langflow.url}/api/v1/users/?a=1`]);
    expect((await post('/api/v1/run/x/')).headers.get('location')).toBe(`${langflow.url}/api/v1/run/x`);
  });

  it('sends all flows gzipped, whatever is accepted, since 1.3', async () => {
    const encodingOf = async (langflow: LangflowFake, query = '') => {
      const headers = { 'x-api-key': langflow.adminKey, 'accept-encoding': 'identity' };
      const url = `${langflow.url}/api/v1/flows/${query}`;
      const response = await new Promise<IncomingMessage>((done) => get(url, { headers }, done));
      const chunks = await Array.fromAsync(response as AsyncIterable<Buffer>);
      return { encoding: response.headers['content-encoding'], bytes: Buffer.concat(chunks) };
    };
    const { encoding, bytes } = await encodingOf(await start('1.6'));
    expect([encoding, gunzipSync(bytes).toString()]).toEqual(['gzip', '[]']);
    const old = await encodingOf(await start('1.0'));
    expect(old.encoding).toBeUndefined();
    expect(JSON.parse(old.bytes.toString())).toMatchObject([{ user_id: null }]);
    const paged = await encodingOf(await start('1.13'), '?get_all=false');
    expect(paged.encoding).toBeUndefined();
    expect(JSON.parse(paged.bytes.toString())).toEqual({ items: [], total: 0, page: 1, size: 50, pages: 0 });
  });

  it('limits the logins of a minute, good ones too, since 1.10', async () => {
    let now = Date.now();
    const langflow = await start('1.11', { now: () => now });
    seed(langflow);
    const statusOf = async () => (await logIn(langflow, 'ada', 'her-password')).status;
    for (let login = 0; login < 5; login++) expect(await statusOf()).toBe(200);
    const { status, headers, body } = await logIn(langflow, 'ada', 'her-password');
    expect([status, headers.get('retry-after'), body.retry_after]).toEqual([429, '60', 60]);
    now += 60_000;
    expect(await statusOf()).toBe(200);
    langflow.set({ loginsPerMinute: 1 });
    expect(await statusOf()).toBe(429);
    langflow.forgetLogins();
    expect(await statusOf()).toBe(200);
    const old = await start('1.8');
    seed(old);
    for (let login = 0; login < 7; login++) expect((await logIn(old, 'ada', 'her-password')).status).toBe(200);
  });

  it('refuses logins in the words of FastAPI and of its version', async () => {
    const langflow = await start('1.11', { switches: { loginsPerMinute: null } });
    const json = { username: 'ada', password: 'her-password' };
    const { status, body } = await ask(langflow, 'POST', '/api/v1/login', { json });
    expect([status, body.detail.map(({ loc, msg }: { loc: string[]; msg: string }) => [...loc, msg])]).toEqual([
      422,
      ['username', 'password'].map((name) => ['body', name, 'Field required']),
    ]);
    langflow.addUser('legacy', 'langflow');
    expect((await logIn(langflow, 'legacy', 'langflow')).status).toBe(401);
    langflow.addUser('left', 'her-password', { is_active: false, last_login_at: '2026-01-01T00:00:00' });
    expect(await logIn(langflow, 'left', 'wrong')).toMatchObject({ status: 401, body: { detail: 'Inactive user' } });
    const long = { json: { username: 'long', password: 'é'.repeat(37) } };
    const refused = await ask(langflow, 'POST', '/api/v1/users/', long);
    expect(refused).toMatchObject({ status: 500, body: { message: expect.stringContaining('72 bytes') } });
    expect((await ask(langflow, 'GET', '/api/v1/auto_login')).status).toBe(403);
    const off = await ask(await start('1.7'), 'GET', '/api/v1/auto_login');
    expect(off).toMatchObject({ status: 400, body: { detail: { auto_login: false } } });
  });

  it('does not find at once what it has just created, from 1.7 to 1.12', async () => {
    const langflow = await start('1.11', { switches: { commitLag: 2 } });
    const admin = { key: langflow.adminKey };
    const json = { username: 'ada', password: 'her-password' };
    const { body: user } = await ask(langflow, 'POST', '/api/v1/users/', { ...admin, json });
    const activate = () => ask(langflow, 'PATCH', `/api/v1/users/${user.id}`, { ...admin, json: { is_active: true } });
    expect([await activate(), await activate(), await activate()].map(({ status }) => status)).toEqual([404, 404, 200]);
    const { body: tokens } = await logIn(langflow, 'ada', 'her-password');
    langflow.set({ commitLag: 1 });
    const { body: made } = await ask(langflow, 'POST', '/api/v1/api_key/', { bearer: tokens.access_token, json: {} });
    const whoAmI = () => ask(langflow, 'GET', '/api/v1/users/whoami', { key: made.api_key });
    expect([(await whoAmI()).status, (await whoAmI()).status]).toEqual([403, 200]);
  });

  it('refreshes by the cookie alone, and goes on taking old tokens', async () => {
    let now = Date.now();
    const langflow = await start('1.8', { now: () => now, switches: { accessTokenS: 60 } });
    const { key } = seed(langflow);
    const { body: tokens, headers } = await logIn(langflow, 'ada', 'her-password');
    expect(headers.getSetCookie()).toEqual([
      expect.stringMatching(/^refresh_token_lf=.+HttpOnly; Path=\/; SameSite=none; Secure$/),
      expect.stringMatching(/^access_token_lf=.+Path=\/; SameSite=lax$/),
      expect.stringMatching(/^apikey_tkn_lflw=None;/),
    ]);
    now += 61_000;
    const whoAmI = await ask(langflow, 'GET', '/api/v1/users/whoami', { bearer: tokens.access_token, key });
    expect(whoAmI).toMatchObject({ status: 401, body: { detail: 'Token has expired' } });
    const refresh = (request: Request) => ask(langflow, 'POST', '/api/v1/refresh', request);
    expect((await refresh({ bearer: tokens.refresh_token, json: tokens })).status).toBe(401);
    expect((await refresh({ cookie: `refresh_token_lf=${tokens.access_token}` })).status).toBe(401);
    const cookie = `refresh_token_lf=${tokens.refresh_token}`;
    const { body: renewed } = await refresh({ cookie });
    expect(renewed.access_token).not.toBe(tokens.access_token);
    expect((await refresh({ cookie })).status).toBe(200);
    langflow.rotateSecretKey();
    expect((await refresh({ cookie })).status).toBe(401);
  });

  it('loses keys with the secret key since 1.8', async () => {
    const whoAmI = async (langflow: LangflowFake, key: string) =>
      (await ask(langflow, 'GET', '/api/v1/users/whoami', { key })).status;
    for (const [version, status] of [
      ['1.7', 200],
      ['1.8', 403],
    ] as const) {
      const langflow = await start(version);
      const { key } = seed(langflow);
      langflow.rotateSecretKey();
      expect(await whoAmI(langflow, key)).toBe(status);
      expect(await whoAmI(langflow, langflow.adminKey)).toBe(200);
    }
    const langflow = await start('1.13', { adminKey: 'sk-of-the-environment' });
    langflow.rotateSecretKey();
    expect(await whoAmI(langflow, 'sk-of-the-environment')).toBe(200);
  });

  it('runs what its version runs', async () => {
    for (const [version, foreign, badBody] of [
      ['1.0', 200, 422],
      ['1.6', 200, 200],
      ['1.7', 403, 200],
    ] as const) {
      const langflow = await start(version);
      const { user, key } = seed(langflow);
      const flow = langflow.addFlow(user, 'Echo', { endpoint_name: 'echo' });
      const run = (by: string, json: unknown) => ask(langflow, 'POST', '/api/v1/run/echo', { key: by, json });
      expect((await run(seed(langflow, 'bob').key, {})).status).toBe(foreign);
      expect((await run(key, { input_value: 'hello', input_type: 'voice' })).status).toBe(badBody);
      expect((await run(key, [])).status).toBe(422);
      const { body } = await run(key, { input_value: 'hello', output_type: 'text' });
      expect(body.outputs[0].outputs).toEqual([]);
      expect(langflow.runs.at(-1)).toMatchObject({ flow, by: 'ada', sessionId: flow.id, state: 'done' });
    }
  });

  it('fails a run with a traceback inside a JSON text', async () => {
    const langflow = await start('1.13');
    const { user, key } = seed(langflow);
    const { id } = langflow.addFlow(user, 'fails: always');
    const { status, body } = await ask(langflow, 'POST', `/api/v1/run/${id}`, { key, json: { input_value: 'hi' } });
    expect(status).toBe(500);
    expect(JSON.parse(body.detail)).toMatchObject({ message: expect.any(String), traceback: expect.any(Array) });
    const unknown = await ask(langflow, 'POST', '/api/v1/run/nothing', { json: {} });
    expect(unknown).toMatchObject({ status: 404, body: { detail: 'Flow identifier nothing not found' } });
  });

  it.each([
    { version: '1.7', failed: [] },
    { version: '1.13', failed: ['add_message', 'error'] },
  ] as const)('streams bare JSON, and failures under status 200, in $version', async ({ version, failed }) => {
    const langflow = await start(version);
    langflow.set({ commitLag: 0 });
    const { user, key } = seed(langflow);
    const eventsOf = async (name: string) => {
      const { id } = langflow.addFlow(user, name);
      const json = { input_value: 'hello you' };
      const response = await call(langflow, 'POST', `/api/v1/run/${id}?stream=true`, { key, json });
      expect([response.status, response.headers.get('content-type')]).toEqual([
        200,
        'text/event-stream; charset=utf-8',
      ]);
      return (await response.text())
        .split('\n\n')
        .slice(0, -1)
        .map((frame) => JSON.parse(frame));
    };
    const events = await eventsOf('Echo');
    expect(events.map(({ event }) => event)).toEqual(['add_message', 'token', 'token', 'token', 'end']);
    expect(events.map(({ data }) => data.chunk ?? '').join('')).toBe('hello you');
    expect(events.at(-1).data.result.outputs[0].outputs[0].results.message.text).toBe('hello you');
    const broken = await eventsOf('breaks: halfway');
    expect(broken.map(({ event }) => event)).toEqual(['add_message', 'token', 'token', ...failed]);
  });

  it('stops a streamed run when its client hangs up, and no other', async () => {
    const langflow = await start('1.13');
    const { user, key } = seed(langflow);
    const { id } = langflow.addFlow(user, 'slow: as it is');
    for (const stream of [true, false]) {
      const client = new AbortController();
      const path = `/api/v1/run/${id}?stream=${stream}`;
      const answer = call(langflow, 'POST', path, { key, json: { input_value: 'hi' } }, { signal: client.signal });
      const ended = answer.catch(() => {});
      const before = langflow.runs.length;
      await langflow.waitFor(() => langflow.runs.length > before);
      if (stream) await answer;
      client.abort();
      await langflow.waitFor(() => langflow.runs.at(-1)!.disconnected);
      await ended;
    }
    expect(langflow.runs.map(({ state }) => state)).toEqual(['stopped', 'running']);
    langflow.runs[1]!.release();
    await langflow.waitFor(() => langflow.runs[1]!.state === 'done');
    expect(langflow.hits.map(({ end }) => end)).toEqual(['hung_up', 'hung_up']);
  });

  it('does to the next request what a test says', async () => {
    const langflow = await start('1.0');
    const json = { username: 'ada', password: 'her-password' };
    const signUp = () => ask(langflow, 'POST', '/api/v1/users/', { json });
    langflow.next('POST', /users/, { drop: 'after' });
    await expect(signUp()).rejects.toThrow();
    expect(langflow.users.has('ada')).toBe(true);
    langflow.next('POST', /users/, {
      answer: { status: 503, headers: { 'retry-after': '1' }, body: { detail: 'no' } },
    });
    expect(await signUp()).toMatchObject({ status: 503, body: { detail: 'no' } });
    const held = langflow.next('POST', /users/, { hold: 'before' });
    const answer = signUp();
    await held.arrived;
    expect(langflow.hits.at(-1)).toMatchObject({ status: null, end: null });
    held.release();
    expect((await answer).status).toBe(400);
    langflow.set({ down: true });
    await expect(signUp()).rejects.toThrow();
    langflow.set({ down: 502, healthy: false });
    expect((await signUp()).status).toBe(502);
    langflow.set({ down: false });
    expect((await ask(langflow, 'GET', '/health')).status).toBe(200);
    expect(await ask(langflow, 'GET', '/health_check')).toMatchObject({
      status: 500,
      body: { detail: { status: 'nok' } },
    });
    expect(langflow.count('POST', /users/)).toBe(5);
  });

  it('pages users by ten, and searches them where it can', async () => {
    for (const [version, found] of [
      ['1.6', 13],
      ['1.13', 1],
    ] as const) {
      const langflow = await start(version);
      for (let user = 0; user < 12; user++) langflow.addUser(`user-${user}`, 'a-password');
      const list = (query: string) => ask(langflow, 'GET', `/api/v1/users/${query}`, { key: langflow.adminKey });
      const { body } = await list('');
      expect([body.total_count, body.users.length]).toEqual([13, 10]);
      expect((await list('?skip=10&limit=100')).body.users).toHaveLength(3);
      expect((await list('?search=user-11&limit=100')).body.users).toHaveLength(found);
      expect((await list('?skip=x')).status).toBe(422);
    }
  });
});
