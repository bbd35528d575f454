import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LatchkeyError } from '../../src/base/error.ts';
import { Egress } from '../../src/egress/egress.ts';
import { disagreements } from '../harness/address-oracle.ts';
import { DOOR_WAYS } from '../harness/outbound.ts';

const ADDRESSES = 1_000_000;
const ANSWERS = 10_000;
const AT_ONCE = 50;

describe('The guard', () => {
  it(`agrees with integer arithmetic about ${ADDRESSES.toLocaleString('en')} addresses`, () => {
    expect(disagreements(ADDRESSES)).toEqual([]);
  });
});

describe.each(Object.entries(DOOR_WAYS))('Rebinding, by %s', (_, call) => {
  const reached = new Map<string, number>();
  const server = createServer((_, response) => void response.setHeader('connection', 'close').end('hello'));
  server.on('connection', ({ localAddress = '' }) => reached.set(localAddress, (reached.get(localAddress) ?? 0) + 1));
  beforeAll(() => new Promise<void>((done) => server.listen(0, '0.0.0.0', done)));
  afterAll(() => new Promise((done) => server.close(done)));

  it(`reaches what is allowed alone, of ${ANSWERS.toLocaleString('en')} answers that alternate`, async () => {
    // 127.0.0.1 stands for a public address, 127.0.0.2 for a private one.
    let asked = 0;
    const lookup = async () => [{ address: asked++ % 2 === 0 ? '127.0.0.1' : '127.0.0.2', family: 4 }];
    const door = new Egress({ allow: ['127.0.0.1'], lookup, timeoutMs: 30_000 });
    const { port } = server.address() as AddressInfo;
    const outcomes = { reached: 0, forbidden: 0 };
    const one = () =>
      call(door, 'rebinding.test', port).then(
        () => (outcomes.reached += 1),
        (error) => {
          if (!(error instanceof LatchkeyError)) throw error;
          outcomes.forbidden += 1;
        },
      );
    while (asked < ANSWERS) await Promise.all(Array.from({ length: AT_ONCE }, one));
    await door.close();
    expect(outcomes.reached).toBeGreaterThan(ANSWERS / 3);
    expect(outcomes.forbidden).toBeGreaterThan(ANSWERS / 3);
    expect([...reached.keys()]).toEqual(['127.0.0.1']);
  });
});
