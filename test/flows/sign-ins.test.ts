import type { LookupAddress } from 'node:dns';
import { createServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { LatchkeyError } from '../../src/base/error.ts';
import { signInToFtp } from '../../src/clients/ftp.ts';
import { SignInError, type SignInServer } from '../../src/clients/sign-in.ts';
import { signInToSmtp } from '../../src/clients/smtp.ts';
import { Egress } from '../../src/egress/egress.ts';
import { EgressError } from '../../src/egress/egress-error.ts';
import { type Listener, listen } from '../harness/listener.ts';
import { PASSWORD, startFtp, startSmtp, USER } from '../harness/sign-in-servers.ts';
import { tlsPair, trusting } from '../harness/tls-pair.ts';

const HOST = 'server.test';
const pair = tlsPair(HOST);

const doors: Egress[] = [];
afterEach(async () => {
  await Promise.all(doors.splice(0).map((door) => door.close()));
});

function doorOf(addresses: string[] = ['127.0.0.1'], allow = ['127.0.0.1']): Egress {
  const answers: LookupAddress[] = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  const door = new Egress({ allow, lookup: async () => answers });
  doors.push(door);
  return door;
}

function serverAt(port: number, given: Partial<SignInServer> = {}): SignInServer {
  return {
    ...{ host: HOST, port, security: 'none', username: USER, password: PASSWORD },
    ...{ timeoutMs: 5_000, signal: AbortSignal.timeout(5_000), ...given },
  };
}

type SignIn = typeof signInToSmtp;

async function failureOf(signIn: Promise<number>): Promise<Error & { failure?: string; code?: number }> {
  const error = await signIn.then(
    (code) => new Error(`it succeeded with ${code}`),
    (reason: Error) => reason,
  );
  expect(error).toSatisfy(
    (it) => it instanceof SignInError || it instanceof EgressError || it instanceof LatchkeyError,
    String(error),
  );
  // What the server says can hold the password.
  expect(`${error.message}${JSON.stringify(error)}`).not.toContain(PASSWORD);
  return error;
}

/** A server that says the lines in turn, each after something was said to it; the first at once. */
function saying(...lines: string[]): Promise<Listener> {
  return listen(
    createServer((socket) => {
      const rest = [...lines];
      const next = () => socket.write(`${rest.shift() ?? ''}\r\n`);
      socket.on('error', () => {});
      socket.on('data', () => rest.length > 0 && next());
      next();
    }),
  );
}

describe('A sign-in to a mail server', () => {
  it('succeeds with the password, and sends no mail', async () => {
    await using smtp = await startSmtp({ disabledCommands: ['STARTTLS'] });
    expect(await signInToSmtp(doorOf(), serverAt(smtp.port))).toBe(235);
    await expect.poll(() => smtp.heard).toEqual(['AUTH PLAIN plain', 'closed']);
  });

  it('asks a server without a user name whether it serves', async () => {
    await using smtp = await startSmtp({ disabledCommands: ['STARTTLS', 'AUTH'] });
    expect(await signInToSmtp(doorOf(), serverAt(smtp.port, { username: '', password: '' }))).toBe(250);
  });

  it('tells a wrong password from what is wanted instead, and from what passes', async () => {
    const wrong = { password: 'wrong' };
    for (const [code, failure] of [
      [535, 'refused'],
      [534, 'too_weak'],
      [454, 'temporary'],
    ] as const) {
      await using smtp = await startSmtp({ disabledCommands: ['STARTTLS'] }, code);
      expect(await failureOf(signInToSmtp(doorOf(), serverAt(smtp.port, wrong)))).toMatchObject({ failure, code });
    }
  });

  it('is protected by STARTTLS, or not made: no password leaves', async () => {
    await using smtp = await startSmtp(pair);
    const starttls = serverAt(smtp.port, { security: 'starttls' });
    expect(await trusting(pair.cert, () => signInToSmtp(doorOf(), starttls))).toBe(235);
    expect(smtp.heard[0]).toBe('AUTH PLAIN TLS');
    await using plain = await startSmtp({ disabledCommands: ['STARTTLS'] });
    const refused = signInToSmtp(doorOf(), serverAt(plain.port, { security: 'starttls' }));
    expect(await failureOf(refused)).toMatchObject({ failure: 'no_tls' });
    expect(plain.heard.filter((line) => line.startsWith('AUTH'))).toEqual([]);
  });

  it('is protected by TLS from the first byte', async () => {
    await using smtp = await startSmtp({ ...pair, secure: true });
    const tls = serverAt(smtp.port, { security: 'tls' });
    expect(await trusting(pair.cert, () => signInToSmtp(doorOf(), tls))).toBe(235);
    expect(smtp.heard[0]).toBe('AUTH PLAIN TLS');
  });
});

describe('A sign-in to a file server', () => {
  it('succeeds with the password', async () => {
    await using ftp = await startFtp();
    expect(await signInToFtp(doorOf(), serverAt(ftp.port))).toBe(230);
    await expect.poll(() => ftp.heard).toEqual(['LOGIN plain', 'closed']);
  });

  it('tells a wrong password', async () => {
    await using ftp = await startFtp();
    const wrong = signInToFtp(doorOf(), serverAt(ftp.port, { password: 'wrong' }));
    expect(await failureOf(wrong)).toMatchObject({ failure: 'refused', code: 530 });
  });

  it('is protected by AUTH TLS, or not made: no password leaves', async () => {
    await using ftp = await startFtp(pair);
    const starttls = serverAt(ftp.port, { security: 'starttls' });
    expect(await trusting(pair.cert, () => signInToFtp(doorOf(), starttls))).toBe(230);
    expect(ftp.heard[0]).toBe('LOGIN TLS');
    await using plain = await startFtp();
    const refused = signInToFtp(doorOf(), serverAt(plain.port, { security: 'starttls' }));
    expect(await failureOf(refused)).toMatchObject({ failure: 'no_tls' });
    expect(plain.heard.filter((line) => line.startsWith('LOGIN'))).toEqual([]);
  });

  it('is protected by TLS from the first byte', async () => {
    await using ftp = await startFtp(pair, true);
    expect(await trusting(pair.cert, () => signInToFtp(doorOf(), serverAt(ftp.port, { security: 'tls' })))).toBe(230);
    expect(ftp.heard[0]).toBe('LOGIN TLS');
  });

  it('tells a server that is busy', async () => {
    await using busy = await saying('421 too many users');
    expect(await failureOf(signInToFtp(doorOf(), serverAt(busy.port)))).toMatchObject({
      failure: 'temporary',
      code: 421,
    });
    await using later = await saying('220 hello', '331 password', '421 not now');
    expect(await failureOf(signInToFtp(doorOf(), serverAt(later.port)))).toMatchObject({ failure: 'temporary' });
  });
});

describe.each([
  ['mail', signInToSmtp],
  ['file', signInToFtp],
] as [string, SignIn][])('A sign-in to any %s server', (kind, signIn) => {
  it('believes no certificate that nobody signed, or that names another host', async () => {
    const start = (secure: boolean) => (kind === 'mail' ? startSmtp({ ...pair, secure }) : startFtp(pair, secure));
    for (const security of ['starttls', 'tls'] as const) {
      await using server = await start(security === 'tls');
      const unknown = signIn(doorOf(), serverAt(server.port, { security }));
      expect(await failureOf(unknown), security).toMatchObject({ failure: 'untrusted' });
      const other = trusting(pair.cert, () =>
        signIn(doorOf(), serverAt(server.port, { security, host: 'other.test' })),
      );
      expect(await failureOf(other), security).toMatchObject({ failure: 'untrusted' });
      const address = trusting(pair.cert, () =>
        signIn(doorOf(), serverAt(server.port, { security, host: '127.0.0.1' })),
      );
      expect(await failureOf(address), security).toMatchObject({ failure: 'untrusted' });
      expect(server.heard.filter((line) => /AUTH|LOGIN/.test(line))).toEqual([]);
    }
  });

  it('names the host to a server of many', async () => {
    const names: string[] = [];
    const SNICallback = (name: string, done: (error: Error | null) => void) => {
      names.push(name);
      done(new Error('no'));
    };
    await using target = await listen(createTlsServer({ ...pair, SNICallback }));
    await failureOf(signIn(doorOf(), serverAt(target.port, { security: 'tls' })));
    expect(names).toEqual([HOST]);
  });

  it('takes no reply for one of TLS that came before it', async () => {
    const injected = kind === 'mail' ? '220 go\r\n250 AUTH PLAIN\r\n235 welcome' : '234 go\r\n230 welcome';
    await using server = await saying(
      kind === 'mail' ? '220 hi' : '220 hi',
      ...(kind === 'mail' ? ['250 STARTTLS'] : []),
      injected,
    );
    const failure = await failureOf(
      signIn(
        doorOf(),
        serverAt(server.port, { security: 'starttls', timeoutMs: 500, signal: AbortSignal.timeout(500) }),
      ),
    );
    expect(['timeout', 'untrusted', 'lost']).toContain(failure.failure);
  });

  it('ends in its time where the server is silent, drips, or greets without end', async () => {
    const drip = (text: string) =>
      listen(
        createServer((socket) => {
          const timer = setInterval(() => socket.write(text), 20);
          socket.on('error', () => {});
          socket.on('close', () => clearInterval(timer));
        }),
      );
    await using silent = await listen(createServer((socket) => void socket.on('error', () => {})));
    await using dripping = await drip('2');
    await using endless = await drip(`220-${'x'.repeat(1_000)}\r\n`);
    await using flood = await drip('y'.repeat(1_000_000));
    for (const server of [silent, dripping, endless, flood]) {
      const startedAt = performance.now();
      const limits = { timeoutMs: 600, signal: AbortSignal.timeout(600) };
      const failure = await failureOf(signIn(doorOf(), serverAt(server.port, limits)));
      expect(['timeout', 'protocol', 'lost']).toContain(failure.failure);
      expect(performance.now() - startedAt).toBeLessThan(3_000);
    }
  });

  it('reports a server that hangs up, refuses the connection, or speaks something else', async () => {
    await using gone = await listen(createServer((socket) => socket.destroy()));
    expect(await failureOf(signIn(doorOf(), serverAt(gone.port)))).toMatchObject({ failure: 'lost' });
    const { port } = gone;
    await gone[Symbol.asyncDispose]();
    expect(await failureOf(signIn(doorOf(), serverAt(port)))).toMatchObject({ kind: 'connect', sent: false });
    await using http = await saying('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n');
    const failure = await failureOf(
      signIn(doorOf(), serverAt(http.port, { timeoutMs: 1_000, signal: AbortSignal.timeout(1_000) })),
    );
    expect(['protocol', 'lost', 'timeout']).toContain(failure.failure);
  });

  it('reaches no forbidden address, however it is written: not one packet', async () => {
    await using target = await listen(createServer(), '0.0.0.0');
    const hosts = [
      '127.0.0.1',
      '127.1',
      '0x7f.1',
      '2130706433',
      '0177.0.0.1',
      '0',
      'localhost',
      '::1',
      '::ffff:127.0.0.1',
    ];
    for (const host of hosts) {
      const failure = await failureOf(signIn(doorOf(['127.0.0.1'], []), serverAt(target.port, { host })));
      expect(failure, host).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
    }
    for (const addresses of [['127.0.0.2'], ['10.0.0.1', '127.0.0.1'], ['127.0.0.1', '::1']]) {
      const failure = await failureOf(signIn(doorOf(addresses), serverAt(target.port)));
      expect(failure, addresses.join()).toMatchObject({ reason: 'ADDRESS_FORBIDDEN', metadata: { host: HOST } });
    }
    const own = doorOf(['127.0.0.1'], ['0.0.0.0/0', HOST]);
    own.refuse([target.port]);
    expect(await failureOf(signIn(own, serverAt(target.port)))).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
    expect(target.connections).toBe(0);
  });

  it('is the address that was checked: a name that moves to a private one is not followed', async () => {
    await using target = await listen(
      createServer((socket) => socket.destroy()),
      '0.0.0.0',
    );
    const answers = ['127.0.0.1', '127.0.0.2'];
    const door = new Egress({ allow: ['127.0.0.1'], lookup: async () => [{ address: answers.shift()!, family: 4 }] });
    doors.push(door);
    expect(await failureOf(signIn(door, serverAt(target.port)))).toMatchObject({ failure: 'lost' });
    expect(await failureOf(signIn(door, serverAt(target.port)))).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
    expect(target.connections).toBe(1);
  });

  it('ends with its caller, and with the door', async () => {
    await using silent = await listen(createServer((socket) => void socket.on('error', () => {})));
    const caller = new AbortController();
    const left = failureOf(signIn(doorOf(), serverAt(silent.port, { signal: caller.signal })));
    await expect.poll(() => silent.connections).toBe(1);
    caller.abort();
    expect(await left).toMatchObject({ failure: 'timeout' });
    const door = doorOf();
    const cut = failureOf(signIn(door, serverAt(silent.port)));
    await expect.poll(() => silent.connections).toBe(2);
    await door.close();
    expect(await cut).toMatchObject({ failure: 'lost' });
    expect(await failureOf(signIn(door, serverAt(silent.port)))).toMatchObject({ kind: 'aborted', sent: false });
  });
});
