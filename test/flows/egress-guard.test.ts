import type { LookupAddress } from 'node:dns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LatchkeyError } from '../../src/base/error.ts';
import { Egress } from '../../src/egress/egress.ts';
import { asFailure } from '../harness/errors.ts';
import { type Listener, listenHttp } from '../harness/listener.ts';
import { CALLERS_WAYS, DOOR_WAYS } from '../harness/outbound.ts';
import { TestServer } from '../harness/server.ts';

/** Ways to write addresses that lead to this machine, or to where only it may go. */
const HOSTS = [
  ...[
    '127.0.0.1',
    '127.1',
    '0x7f.1',
    '2130706433',
    '017700000001',
    '0177.0.0.1',
    '127.0.0.1.',
    '0.0.0.0',
    '0',
    'localhost',
  ],
  ...[
    '[::1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::127.0.0.1]',
    '[64:ff9b::127.0.0.1]',
    '[2002:7f00:1::]',
    '[fe80::1]',
    '[fd00::1]',
  ],
  ...[
    '169.254.169.254',
    '10.0.0.1',
    '172.16.0.1',
    '192.168.0.1',
    '100.64.0.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
  ],
];

const reasonOf = (error: unknown) => (error instanceof LatchkeyError ? error.reason : asFailure(error).reason);

describe.each(Object.entries(DOOR_WAYS))('Through the door by %s', (_, call) => {
  let target: Listener;
  beforeAll(async () => {
    target = await listenHttp((_, response) => void response.end('hello'), '0.0.0.0');
  });
  afterAll(() => target[Symbol.asyncDispose]());

  const through = async (options: ConstructorParameters<typeof Egress>[0], host: string, refused: number[] = []) => {
    const door = new Egress(options);
    door.refuse(refused);
    try {
      return await call(door, host, target.port).then(() => 'reached', reasonOf);
    } finally {
      await door.close();
    }
  };
  const answering = (...addresses: string[]) => ({
    lookup: async (): Promise<LookupAddress[]> =>
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
  });

  it('no address is reached that is not public, however it is written', async () => {
    for (const host of HOSTS) expect(await through({ allow: [] }, host), host).toBe('ADDRESS_FORBIDDEN');
    expect(target.connections).toBe(0);
  });

  it('no name is followed to one, be it one of several', async () => {
    for (const addresses of [
      ['127.0.0.1'],
      ['::1'],
      ['::ffff:127.0.0.1'],
      ['93.184.216.34', '127.0.0.1'],
      ['127.0.0.1', '2606:4700::1'],
    ])
      expect(await through({ allow: [], ...answering(...addresses) }, 'rebinding.test'), addresses.join()).toBe(
        'ADDRESS_FORBIDDEN',
      );
    expect(target.connections).toBe(0);
  });

  it('our own listeners are not reached, even where their address is allowed', async () => {
    expect(await through({ allow: ['127.0.0.0/8'] }, '127.0.0.1', [target.port])).toBe('ADDRESS_FORBIDDEN');
    expect(await through({ allow: ['mine.test'], ...answering('127.0.0.1') }, 'mine.test', [target.port])).toBe(
      'ADDRESS_FORBIDDEN',
    );
    expect(target.connections).toBe(0);
  });

  it('what is allowed is reached', async () => {
    expect(await through({ allow: ['127.0.0.1'] }, '127.0.0.1')).toBe('reached');
    expect(target.connections).toBe(1);
  });
});

describe.each(Object.entries(CALLERS_WAYS))('A caller, by %s', (_, call) => {
  let server: TestServer;
  let target: Listener;
  beforeAll(async () => {
    target = await listenHttp((_, response) => void response.end('{}'), '0.0.0.0');
    // A list with nothing real in it: empty would be the default, which allows loopback.
    server = await TestServer.start({ env: { EGRESS_ALLOW: 'nothing.invalid' } });
  });
  afterAll(async () => {
    await server.stop();
    await target[Symbol.asyncDispose]();
  });

  it('reaches no address that is not public, however it is written: not one packet', async () => {
    for (const [index, host] of HOSTS.entries()) {
      // Tests are so many a minute and user.
      const who = { tenant: `guard-${index}` };
      const clients = await server.as('admin', who);
      const token = await server.token('admin', who);
      const url = `http://${host}:${target.port}/`;
      const where = { url, host, port: target.port };
      const answer = await call({ clients, token, httpUrl: server.httpUrl, ...where }).catch(asFailure);
      expect(answer, host).toMatchObject({ reason: 'ADDRESS_FORBIDDEN' });
    }
    expect(target.connections).toBe(0);
  });
});
