import { execFileSync } from 'node:child_process';
import type { LookupAddress } from 'node:dns';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { LatchkeyError, StartError } from '../../src/base/error.ts';
import { Egress } from '../../src/egress/egress.ts';
import { EgressError } from '../../src/egress/egress-error.ts';
import type { EgressInit } from '../../src/egress/request.ts';
import { type Listener, listen, listenHttp, listenRaw } from '../harness/listener.ts';
import { temporaryFolder } from '../harness/process.ts';

const doors: Egress[] = [];
afterEach(async () => {
  await Promise.all(doors.splice(0).map((door) => door.close()));
});

function doorOf(options: Partial<ConstructorParameters<typeof Egress>[0]> = {}): Egress {
  const door = new Egress({ allow: ['127.0.0.1'], timeoutMs: 5_000, ...options });
  doors.push(door);
  return door;
}

/** A resolver that answers each list in turn, and the last for ever. */
function resolving(...answers: string[][]) {
  const asked: string[] = [];
  const lookup = async (host: string): Promise<LookupAddress[]> => {
    const answer = answers[Math.min(asked.push(host), answers.length) - 1] ?? [];
    return answer.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  };
  return { asked, lookup };
}

async function failureOf(call: Promise<unknown>): Promise<EgressError | LatchkeyError> {
  const error = await call.then(
    () => null,
    (reason) => reason,
  );
  expect(error).toSatisfy((it) => it instanceof EgressError || it instanceof LatchkeyError);
  return error;
}

/** A connection is free for the next call one turn of the event loop after an answer. */
const idle = () => new Promise((done) => setImmediate(done));

const hello = (_: IncomingMessage, response: ServerResponse) => void response.end('hello');

describe('What may be reached', () => {
  it('is no private address, however it is written: not one packet', async () => {
    await using target = await listenHttp(hello, '0.0.0.0');
    const door = doorOf({ allow: [] });
    const hosts = [
      ...[
        '127.0.0.1',
        '127.1',
        '0x7f.1',
        '2130706433',
        '017700000001',
        '0177.0.0.1',
        '１２７.0.0.1',
        '%31%32%37.0.0.1',
      ],
      ...['127.0.0.1.', '0.0.0.0', '0', 'localhost', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::127.0.0.1]'],
      ...['[64:ff9b::127.0.0.1]', '[2002:7f00:1::]', '[0:0:0:0:0:ffff:7f00:1]', '169.254.169.254', '[fe80::1]'],
    ];
    for (const host of hosts) {
      const failure = await failureOf(door.fetch(`http://${host}:${target.port}/`));
      expect(failure, host).toMatchObject({ reason: 'ADDRESS_FORBIDDEN', metadata: { host: expect.any(String) } });
    }
    expect(target.connections).toBe(0);
  });

  it('is the address that was checked: a name that moves to a private address is not followed', async () => {
    await using target = await listenHttp(hello, '0.0.0.0');
    const { lookup, asked } = resolving(['127.0.0.1'], ['127.0.0.2']);
    const door = doorOf({ lookup });
    const url = `http://rebinding.test:${target.port}/`;
    expect(await (await door.fetch(url, { fresh: true })).text()).toBe('hello');
    expect(asked).toEqual(['rebinding.test']);
    expect(await failureOf(door.fetch(url))).toMatchObject({
      reason: 'ADDRESS_FORBIDDEN',
      metadata: { host: 'rebinding.test' },
    });
    expect(target.connections).toBe(1);
  });

  it('is no name of which one address is private', async () => {
    await using target = await listenHttp(hello, '0.0.0.0');
    const mixed = [
      ['127.0.0.1', '127.0.0.2'],
      ['10.0.0.1', '127.0.0.1'],
      ['127.0.0.1', '::1'],
      ['127.0.0.1', '::ffff:127.0.0.2'],
    ];
    for (const addresses of mixed) {
      const door = doorOf({ lookup: resolving(addresses).lookup });
      const failure = await failureOf(door.fetch(`http://mixed.test:${target.port}/`));
      expect(failure, addresses.join()).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
    }
    expect(target.connections).toBe(0);
  });

  it('is a name that the operator allows, wherever it leads', async () => {
    await using target = await listenHttp(hello);
    const door = doorOf({ allow: ['idp.test', '*.corp.test'], lookup: resolving(['127.0.0.1']).lookup });
    for (const host of ['idp.test', 'IDP.test', 'a.corp.test', 'b.a.corp.test'])
      expect((await door.fetch(`http://${host}:${target.port}/`)).status, host).toBe(200);
    for (const host of ['x.idp.test', 'corp.test', 'idp.test.', '127.0.0.1'])
      expect(await failureOf(door.fetch(`http://${host}:${target.port}/`)), host).toBeInstanceOf(LatchkeyError);
  });

  it('is never our own listener', async () => {
    await using target = await listenHttp(hello, '0.0.0.0');
    await using other = await listenHttp(hello);
    const door = doorOf({
      allow: ['0.0.0.0/0', '::/0', '*.test', 'localhost'],
      lookup: resolving(['127.0.0.1']).lookup,
    });
    const child = door.allowing(['mine.test']);
    door.refuse([target.port]);
    const interfaces = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
    const addresses = interfaces.map(({ address }) => (address.includes(':') ? `[${address}]` : address));
    for (const host of ['127.0.0.1', '127.0.0.9', '0.0.0.0', '[::]', '[::ffff:127.0.0.1]', 'mine.test', ...addresses])
      for (const each of [door, child])
        expect(await failureOf(each.fetch(`http://${host}:${target.port}/`)), host).toBeInstanceOf(LatchkeyError);
    expect(target.connections).toBe(0);
    expect((await door.fetch(other.url)).status).toBe(200);
  });

  it('is more for those to whom the operator’s settings name a host, and for nobody else', async () => {
    await using target = await listenHttp(hello);
    const door = doorOf({ allow: [], lookup: resolving(['127.0.0.1']).lookup });
    const url = `http://issuer.test:${target.port}/`;
    const child = door.allowing([new URL(url).hostname]);
    expect((await child.fetch(url)).status).toBe(200);
    expect(await failureOf(door.fetch(url))).toBeInstanceOf(LatchkeyError);
    expect(await failureOf(child.fetch(target.url))).toBeInstanceOf(LatchkeyError);
    expect((await door.allowing(['[::1]', '127.0.0.1']).fetch(target.url)).status).toBe(200);
    await door.close();
    expect(await failureOf(child.fetch(url))).toMatchObject({ kind: 'aborted', sent: false });
  });

  it('is said at the start', () => {
    expect(() => new Egress({ allow: ['10.0.0/8'] })).toThrow(StartError);
  });
});

describe('A request', () => {
  it('arrives as it was given', async () => {
    const seen: object[] = [];
    await using target = await listenHttp(async (request, response) => {
      const chunks: Buffer[] = await request.toArray();
      const { method, url, headers } = request;
      seen.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
      response.setHeader('set-cookie', ['a=1', 'b=2']);
      response.statusCode = 201;
      response.end('{"ok":true}');
    });
    const door = doorOf();
    const response = await door.fetch(new URL(`${target.url}/token?x=1#part`), {
      method: 'POST',
      headers: { 'X-One': '1' },
      body: new URLSearchParams({ grant_type: 'refresh token' }),
    });
    expect(response).toBeInstanceOf(Response);
    expect([response.status, response.headers.getSetCookie(), await response.json()]).toEqual([
      ...[201, ['a=1', 'b=2']],
      { ok: true },
    ]);
    await door.fetch(target.url, { method: 'put', headers: new Headers({ 'content-type': 'x/y' }), body: 'ä' });
    await door.fetch(target.url, { method: 'PATCH', body: Buffer.from('xbytesx').subarray(1, 6) });
    expect(seen).toMatchObject([
      {
        ...{ method: 'POST', url: '/token?x=1', body: 'grant_type=refresh+token' },
        headers: {
          'x-one': '1',
          'accept-encoding': 'identity',
          'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
          host: `127.0.0.1:${target.port}`,
        },
      },
      { method: 'PUT', body: 'ä', headers: { 'content-type': 'x/y' } },
      { method: 'PATCH', body: 'bytes' },
    ]);
  });

  it('shares a connection, unless it asks for its own', async () => {
    await using target = await listenHttp(hello);
    const door = doorOf();
    for (let i = 0; i < 3; i++) {
      await door.fetch(target.url);
      await idle();
    }
    expect(target.connections).toBe(1);
    await door.fetch(target.url, { fresh: true });
    expect(target.connections).toBe(2);
    await door.fetch(target.url);
    expect(target.connections).toBe(2);
  });

  it('is refused where it is not HTTP as we speak it', async () => {
    await using target = await listenHttp(hello);
    const door = doorOf();
    const urls = [
      ...['ftp://127.0.0.1/', 'file:///etc/passwd', 'data:,x', 'nonsense', ''],
      ...[`http://user@127.0.0.1:${target.port}/`, `http://user:secret@127.0.0.1:${target.port}/`],
    ];
    for (const url of urls)
      expect(await failureOf(door.fetch(url)), url).toMatchObject({ kind: 'protocol', sent: false });
    const inits: EgressInit[] = [
      ...[{ method: 'GET\r\nx: y' }, { method: 'CONNECT' }, { method: '' }],
      ...[{ headers: { 'x-a': 'b\r\nx-c: d' } }, { headers: { 'x-a': 'b\n' } }, { headers: { 'x\r\na': 'b' } }],
      ...[{ headers: { Host: 'other.test' } }, { headers: { 'transfer-encoding': 'chunked' } }],
      ...[{ headers: { 'x-a': 'b\0' } }, { method: 'POST', body: 'abc', headers: { 'content-length': '9' } }],
    ];
    for (const init of inits) {
      const failure = await failureOf(door.fetch(target.url, init));
      expect(failure, JSON.stringify(init)).toMatchObject({ kind: 'protocol', sent: false });
    }
  });

  it('follows no redirect', async () => {
    await using elsewhere = await listenHttp(hello);
    await using target = await listenHttp((_, response) => {
      response.writeHead(307, { location: elsewhere.url }).end();
    });
    const response = await doorOf().fetch(target.url, { redirect: 'follow' } as EgressInit);
    expect([response.status, response.headers.get('location')]).toEqual([307, elsewhere.url]);
    expect(elsewhere.connections).toBe(0);
  });

  it('is not sent twice, and says that it may have arrived', async () => {
    const requests: string[] = [];
    await using target = await listenRaw((socket, request) => {
      requests.push(request);
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      socket.on('data', (bytes) => {
        requests.push(bytes.toString());
        socket.resetAndDestroy();
      });
    });
    const door = doorOf();
    await door.fetch(target.url);
    await idle();
    expect(await failureOf(door.fetch(target.url))).toMatchObject({ kind: 'reset', sent: true });
    expect(requests).toHaveLength(2);
    expect(target.connections).toBe(1);
  });
});

describe('An answer', () => {
  const CONTENT = JSON.stringify({ text: 'x'.repeat(1000) });
  const ENCODINGS: [string, (content: string | Buffer) => Buffer][] = [
    ...([
      ['gzip', gzipSync],
      ['br', brotliCompressSync],
    ] as [string, (content: string | Buffer) => Buffer][]),
    ...([
      ['deflate', deflateSync],
      ['deflate', deflateRawSync],
    ] as [string, (content: string | Buffer) => Buffer][]),
  ];
  const encoded = (encoding: string, body: Buffer) =>
    listenHttp((_, response) => void response.writeHead(200, { 'content-encoding': encoding }).end(body));

  it('is decompressed though nobody asked for that', async () => {
    for (const [encoding, compress] of ENCODINGS) {
      await using target = await encoded(encoding, compress(CONTENT));
      const response = await doorOf().fetch(target.url);
      expect(await response.text()).toBe(CONTENT);
      expect(response.headers.get('content-encoding')).toBeNull();
    }
  });

  it('is bounded as it is decompressed', async () => {
    for (const [encoding, compress] of ENCODINGS) {
      await using target = await encoded(encoding, compress(Buffer.alloc(8 * 1024 * 1024)));
      expect(await failureOf(doorOf().fetch(target.url)), encoding).toMatchObject({ kind: 'too_large', sent: true });
    }
  });

  it('must be readable', async () => {
    for (const [encoding, body] of [
      ['gzip', Buffer.from('no gzip')],
      ['gzip', gzipSync(CONTENT).subarray(0, 20)],
      ['gzip, gzip', gzipSync(gzipSync(CONTENT))],
      ['secret-code', Buffer.from('x')],
    ] as const) {
      await using target = await encoded(encoding, body);
      expect(await failureOf(doorOf().fetch(target.url)), encoding).toMatchObject({ kind: 'protocol', sent: true });
    }
  });

  it('without a body has none', async () => {
    await using target = await listenHttp((request, response) => {
      response.writeHead(Number(request.url?.slice(1)), { 'content-encoding': 'gzip' }).end();
    });
    for (const status of [200, 204, 205, 304])
      expect(await (await doorOf().fetch(`${target.url}/${status}`)).text(), String(status)).toBe('');
    await using large = await listenHttp((_, response) => {
      response.writeHead(200, { 'content-length': 10 ** 9 }).end();
    });
    expect((await doorOf().fetch(large.url, { method: 'HEAD' })).headers.get('content-length')).toBe('1000000000');
  });

  it('is bounded in bytes, whether it says its length or not', async () => {
    await using declared = await listenRaw((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${300 * 1024}\r\n\r\n`);
    });
    expect(await failureOf(doorOf().fetch(declared.url))).toMatchObject({ kind: 'too_large', sent: true });
    await using endless = await listenRaw(
      floodWith('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', `400\r\n${'x'.repeat(1024)}\r\n`),
    );
    expect(await failureOf(doorOf().fetch(endless.url))).toMatchObject({ kind: 'too_large', sent: true });
    await using tiny = await listenRaw((socket) => {
      const chunks = Array.from({ length: 5_000 }, (_, i) => `1\r\n${i % 10}\r\n`);
      socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunks.join('')}0\r\n\r\n`);
    });
    expect(await (await doorOf().fetch(tiny.url)).text()).toBe('0123456789'.repeat(500));
    await using exact = await listenHttp((_, response) => void response.end(Buffer.alloc(2048)));
    expect((await doorOf().fetch(exact.url, { maxBodyBytes: 2048 })).status).toBe(200);
    expect(await failureOf(doorOf().fetch(exact.url, { maxBodyBytes: 2047 }))).toMatchObject({ kind: 'too_large' });
  });

  it('is bounded in headers', async () => {
    await using target = await listenRaw(floodWith('HTTP/1.1 200 OK\r\n', `x-header: ${'x'.repeat(100)}\r\n`));
    expect(await failureOf(doorOf().fetch(target.url))).toMatchObject({ kind: 'too_large', sent: true });
  });

  it('is bounded in time, headers and body together', async () => {
    const drip = (head: string, part: string) => (socket: Socket) => {
      socket.write(head);
      const timer = setInterval(() => socket.write(part), 10);
      socket.on('close', () => clearInterval(timer));
    };
    for (const answer of [
      drip('HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n', 'x'),
      drip('HTTP/1.1 200 OK\r\nx-header: ', 'x'),
      drip('', 'HTTP/1.1 103 Early Hints\r\n\r\n'),
      floodWith('', 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'),
      () => {},
    ]) {
      await using target = await listenRaw(answer);
      const failure = await failureOf(doorOf().fetch(target.url, { timeoutMs: 150 }));
      expect(failure).toMatchObject({ kind: 'timeout', sent: true });
    }
  });

  it('must be HTTP', async () => {
    for (const answer of [
      'nonsense\r\n\r\n',
      'HTTP/1.1 099 ?\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.1 1000 ?\r\ncontent-length: 0\r\n\r\n',
      'HTTP/1.1 101 x\r\nupgrade: y\r\nconnection: upgrade\r\n\r\n',
    ]) {
      await using target = await listenRaw((socket) => void socket.write(answer));
      expect(await failureOf(doorOf().fetch(target.url)), answer).toMatchObject({ kind: 'protocol', sent: true });
    }
  });

  it('has its status as it came, though that is of no class', async () => {
    await using target = await listenRaw(
      (socket) => void socket.write('HTTP/1.1 999 ?\r\ncontent-length: 2\r\n\r\nok'),
    );
    const answer = await doorOf().fetch(target.url);
    expect([answer.status, answer.ok, await answer.text()]).toEqual([999, false, 'ok']);
  });
});

/** Writes without end as fast as it is read. */
function floodWith(head: string, part: string) {
  return (socket: Socket) => {
    const parts = part.repeat(200);
    const flood = () => {
      for (let i = 0; i < 10 && !socket.destroyed; i++) if (!socket.write(parts)) return;
      setImmediate(flood);
    };
    socket.on('drain', flood);
    socket.write(head);
    flood();
  };
}

describe('A failure', () => {
  it('before the connection stood says that nothing was sent', async () => {
    const gone = await listenHttp(hello);
    await gone[Symbol.asyncDispose]();
    expect(await failureOf(doorOf().fetch(gone.url))).toMatchObject({ kind: 'connect', sent: false });

    const nowhere = doorOf({ lookup: () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' })) });
    expect(await failureOf(nowhere.fetch('http://nowhere.test/'))).toMatchObject({
      ...{ kind: 'connect', sent: false, message: 'nowhere.test: could not be connected to (ENOTFOUND)' },
    });
    const empty = doorOf({ lookup: resolving([]).lookup });
    expect(await failureOf(empty.fetch('http://empty.test/'))).toMatchObject({ kind: 'connect', sent: false });

    const never = doorOf({ lookup: () => new Promise(() => {}) });
    const late = await failureOf(never.fetch('http://never.test/', { timeoutMs: 50 }));
    expect(late).toMatchObject({ kind: 'timeout', sent: false });

    await using plain = await listenHttp(hello);
    const noTls = await failureOf(doorOf().fetch(plain.url.replace('http:', 'https:')));
    expect(noTls).toMatchObject({ kind: 'connect', sent: false });
  });

  it('after the request was read says that it was sent', async () => {
    await using resets = await listenRaw((socket) => socket.resetAndDestroy());
    expect(await failureOf(doorOf().fetch(resets.url))).toMatchObject({ kind: 'reset', sent: true });
    await using ends = await listenRaw((socket) => socket.end());
    expect(await failureOf(doorOf().fetch(ends.url))).toMatchObject({ kind: 'reset', sent: true });
    await using halfway = await listenRaw((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'));
    expect(await failureOf(doorOf().fetch(halfway.url))).toMatchObject({ kind: 'reset', sent: true });
  });

  it('may be the caller’s wish', async () => {
    const read = Promise.withResolvers<void>();
    await using target = await listenRaw(() => read.resolve());
    const door = doorOf();
    const before = await failureOf(door.fetch(target.url, { signal: AbortSignal.abort() }));
    expect(before).toMatchObject({ kind: 'aborted', sent: false });
    expect(target.connections).toBe(0);
    const controller = new AbortController();
    const call = failureOf(door.fetch(target.url, { signal: controller.signal }));
    await read.promise;
    controller.abort();
    expect(await call).toMatchObject({ kind: 'aborted', sent: true });
    const timed = await failureOf(door.fetch(target.url, { signal: AbortSignal.timeout(30) }));
    expect(timed).toMatchObject({ kind: 'timeout' });
  });

  it('given up while it waited to connect is never sent', async () => {
    await using target = await listenHttp(hello);
    const address = Promise.withResolvers<LookupAddress[]>();
    const asked = Promise.withResolvers<void>();
    const door = doorOf({
      lookup: () => {
        asked.resolve();
        return address.promise;
      },
    });
    const url = `http://slow.test:${target.port}/`;
    const controller = new AbortController();
    const call = failureOf(door.fetch(url, { signal: controller.signal, method: 'POST', body: 'once' }));
    await asked.promise;
    controller.abort();
    expect(await call).toMatchObject({ kind: 'aborted', sent: false });
    address.resolve([{ address: '127.0.0.1', family: 4 }]);
    expect(await (await door.fetch(url)).text()).toBe('hello');
  });

  it('says nothing of what was sent or answered', async () => {
    await using target = await listenRaw((socket) => void socket.end('HTTP/1.1 200 s3cret\r\ns3cret\r\n\r\n'));
    const failure = await failureOf(
      doorOf().fetch(`${target.url}/s3cret?token=s3cret`, {
        ...{ method: 'POST', headers: { authorization: 'Bearer s3cret' }, body: 's3cret' },
      }),
    );
    const header = await failureOf(doorOf().fetch(target.url, { headers: { 's3cret\n': 's3cret\n' } }));
    for (const error of [failure, header]) {
      expect(`${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`).not.toContain('s3cret');
    }
  });
});

describe('The door', () => {
  it('waits for calls that run when it closes, and begins no other', async () => {
    const asked = Promise.withResolvers<ServerResponse>();
    await using target = await listenHttp((_, response) => asked.resolve(response));
    const door = doorOf();
    const call = door.fetch(target.url);
    const response = await asked.promise;
    const closed = door.close();
    expect(await failureOf(door.fetch(target.url))).toMatchObject({ kind: 'aborted', sent: false });
    response.end('hello');
    expect(await (await call).text()).toBe('hello');
    await closed;
  });

  it('believes TLS certificates that are signed and name the host, and no others', async () => {
    const folder = temporaryFolder();
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder.path, stdio: 'ignore' });
    openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-keyout', 'key.pem', '-out', 'cert.pem', '-subj', '/CN=tls.test', '-addext', 'subjectAltName=DNS:tls.test'],
    );
    const read = (name: string) => readFileSync(join(folder.path, name), 'utf8');
    const [key, cert] = [read('key.pem'), read('cert.pem')];
    folder.remove();
    await using target: Listener = await listen(createHttpsServer({ key, cert }, hello));
    const { lookup } = resolving(['127.0.0.1']);
    const urlOf = (host: string) => `https://${host}:${target.port}/`;
    const authorities = getCACertificates('default');
    expect(await failureOf(doorOf({ lookup }).fetch(urlOf('tls.test')))).toMatchObject({
      ...{ kind: 'connect', sent: false, message: expect.stringContaining('SELF_SIGNED') },
    });
    try {
      setDefaultCACertificates([...authorities, cert]);
      expect(await (await doorOf({ lookup }).fetch(urlOf('tls.test'))).text()).toBe('hello');
      expect(await failureOf(doorOf({ lookup }).fetch(urlOf('other.test')))).toMatchObject({
        ...{ kind: 'connect', sent: false, message: expect.stringContaining('ALTNAME') },
      });
    } finally {
      setDefaultCACertificates(authorities);
    }
  });
});
