import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { LatchkeyError } from '../../src/base/error.ts';
import { retryAfterMs } from '../../src/base/retry-after.ts';
import type { LeasedDelivery } from '../../src/domain/deliveries.ts';
import { evaluateCondition } from '../../src/domain/webhooks/evaluate-condition.ts';
import { Template } from '../../src/domain/webhooks/fill-template.ts';
import { judgeAttempt } from '../../src/domain/webhooks/judge-attempt.ts';
import { Lanes, type Slot } from '../../src/domain/webhooks/lanes.ts';
import { pauseAfter } from '../../src/domain/webhooks/schedule.ts';
import { settleDelivery } from '../../src/domain/webhooks/settle-delivery.ts';
import { webhookHeaders } from '../../src/domain/webhooks/sign.ts';
import type { JsonObject, JsonValue } from '../../src/model/json.ts';

/** The fields that a call says are wrong; empty: none. */
function faults(work: () => unknown): string[] {
  try {
    work();
    return [];
  } catch (error) {
    if (!(error instanceof LatchkeyError)) throw error;
    return error.fields.map(({ field }) => field);
  }
}

describe('A template', () => {
  const fill = (document: JsonValue, variables: JsonObject) => new Template(variables).json(document, 'body');

  it('gives a text that is one variable the value with its type, and puts its text into longer ones', () => {
    const variables = { n: 1.5, yes: true, no: null, list: [1, { a: 'b' }], o: { p: { q: 'deep' } }, s: 'text' };
    const document = [
      '{{n}}',
      '{{ yes }}',
      '{{no}}',
      '{{list}}',
      '{{o.p.q}}',
      '{{list.1.a}}',
      'is {{n}}, {{yes}}, {{no}}, {{o.p}}, {{s}}',
    ];
    expect(fill(document, variables)).toEqual([
      1.5,
      true,
      null,
      [1, { a: 'b' }],
      'deep',
      'b',
      'is 1.5, true, null, {"q":"deep"}, text',
    ]);
  });

  it('lets no value break out of its text, or be looked through again', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        const filled = fill({ a: 'x {{v}} y', b: '{{v}}' }, { v: value, secret: 'other' });
        expect(JSON.parse(JSON.stringify(filled))).toEqual({ a: `x ${value} y`, b: value });
      }),
    );
    const attack = '", "admin": true, "x": "{{secret}}$& $1 $`';
    expect(fill({ a: '{{v}} {{v}}' }, { v: attack, secret: 's' })).toEqual({ a: `${attack} ${attack}` });
  });

  it('sees own members alone, and names what is not there', () => {
    for (const path of [
      'x',
      'o.x',
      '__proto__',
      'constructor',
      'o.toString',
      'l.length',
      'l.map',
      's.length',
      'o.__proto__.x',
      'l.-1',
    ])
      expect(
        faults(() => fill(`a {{${path}}}`, { o: {}, l: [], s: 'x' })),
        path,
      ).toEqual([`variables["${path}"]`]);
    for (const braces of ['{{}}', '{{ }}', '{{a b}}', '{{a..b}}', '{{#if x}}', '{{1+1}}', '{{{x}}}'])
      expect(
        faults(() => fill(braces, { x: 1, a: 1 })),
        braces,
      ).toEqual(['body']);
    expect(fill('a {{ b } c {x} }', {})).toBe('a {{ b } c {x} }');
  });

  it('does not grow beyond its bounds', () => {
    const big = 'x'.repeat(60_000);
    expect(faults(() => fill('{{big}}'.repeat(6), { big }))).toEqual(['body']);
    const list = Array.from({ length: 20_000 }, () => 'x');
    expect(
      faults(() =>
        fill(
          Array.from({ length: 10 }, () => '{{list}}'),
          { list },
        ),
      ),
    ).toEqual(['body']);
  });
});

describe('A template without end', () => {
  it('is read in one pass', () => {
    const braces = '{'.repeat(1_000_000);
    expect(new Template({}).json(braces, 'body')).toBe(braces);
    expect(new Template({ a: 1 }).json(`${'{{a}}'.repeat(1_000)}{{`, 'body')).toBe(`${'1'.repeat(1_000)}{{`);
  });
});

describe('A condition', () => {
  const variables = {
    totalAmount: 12_000,
    price: 9.5,
    items: [{ qty: 2 }, { qty: 3 }],
    name: 'anna',
    none: null,
    o: {},
  };

  it.each([
    ['totalAmount > 10000', true],
    ['totalAmount > 10000.5', true],
    ['totalAmount + 1 == 12001', true],
    ['totalAmount * 1.5 > 17999.9 && price / 2 < 5.0', true],
    ['totalAmount % 7 == 2', true],
    ['items.all(i, i.qty > 1) && items.exists(i, i.qty == 3)', true],
    ['size(items) == 2 && name.startsWith("an")', true],
    ['none == null && !has(o.x)', true],
    ['name in ["bert", "carl"]', false],
    ['price == 9.5 ? totalAmount < 1 : true', false],
    ['name.matches("^(a|n)+$")', true],
  ])('%s is %s', (condition, holds) => {
    expect(evaluateCondition(condition, variables)).toBe(holds);
  });

  it.each([
    '',
    'totalAmount',
    'totalAmount >',
    '"true"',
    'o.x',
    'name > 1',
    '1 / 0 == 1',
    `${'('.repeat(2_000)}true`,
    'name.matches("(")',
    'o.__proto__ == 1',
  ])('refuses %s', (condition) => {
    expect(faults(() => evaluateCondition(condition, variables))).toEqual(['condition']);
  });

  it('names what is no variable, even where it would not matter', () => {
    for (const [condition, name] of [
      ['absent > 1', 'absent'],
      ['true || absent.x', 'absent'],
      ['items.all(i, j)', 'j'],
      ['constructor == 1', 'constructor'],
      ['items.all(i, true) && i == 1', 'i'],
    ] as const)
      expect(
        faults(() => evaluateCondition(condition, variables)),
        condition,
      ).toEqual([`variables["${name}"]`]);
  });

  it('does not run what doubles its values again and again', () => {
    const chained = `[s]${'.map(x, x + x)'.repeat(26)}[0].size() > 0`;
    expect(faults(() => evaluateCondition(chained, { s: 'aaaa' }))).toEqual(['condition']);
    const lists = `${'[l]'}${'.map(x, x + x)'.repeat(12)}.all(x, true)`;
    expect(faults(() => evaluateCondition(lists, { l: [1, 2, 3] }))).toEqual(['condition']);
    const sums = `(${Array.from({ length: 300 }, () => 's').join(' + ')}).contains('b')`;
    expect(faults(() => evaluateCondition(sums, { s: 'a'.repeat(200_000) }))).toEqual(['condition']);
    expect(evaluateCondition('items.exists(i, i.net + i.tax > 10)', { items: [{ net: 9, tax: 2 }] })).toBe(true);
    expect(evaluateCondition('a + b + c > 10', { a: 1, b: 2, c: 8 })).toBe(true);
  });

  it('does not run what could take long', () => {
    const list = Array.from({ length: 5_000 }, (_, i) => i);
    expect(evaluateCondition('l.all(x, x >= 0)', { l: list })).toBe(true);
    const text = 'a'.repeat(50_000);
    for (const condition of [
      'l.all(x, l.all(y, x + y >= 0))',
      'l.map(x, l.map(y, l)) == []',
      'l.all(x, t.matches("(a+)+$")) && l.all(x, t.contains("b"))',
      `t.matches("${'[ab]{900}'.repeat(30)}")`,
      `t.matches("${'a'.repeat(1_001)}")`,
    ])
      expect(
        faults(() => evaluateCondition(condition, { l: list, t: text })),
        condition,
      ).toEqual(['condition']);
    const start = performance.now();
    evaluateCondition('t.matches("(a+)+$")', { t: `${text}!` });
    expect(performance.now() - start).toBeLessThan(1_000);
  });
});

const webhook = (backoffMs: number) => ({ purpose: 'webhook' as const, backoffMs });

describe('The schedule', () => {
  it('doubles, within 20 % either way, and ends at an hour', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 10, max: 60_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (attempt, backoff, random) => {
          const pause = pauseAfter(attempt, webhook(backoff), 0, random);
          const doubled = Math.min(backoff * 2 ** (attempt - 1), 3_600_000);
          expect(pause).toBeGreaterThanOrEqual(Math.floor(doubled * 0.8));
          expect(pause).toBeLessThanOrEqual(Math.min(Math.ceil(doubled * 1.2), 3_600_000));
        },
      ),
    );
    expect([
      pauseAfter(1, webhook(1_000), 0, 0),
      pauseAfter(2, webhook(1_000), 0, 0.5),
      pauseAfter(3, webhook(1_000), 0, 0.5),
    ]).toEqual([800, 2_000, 4_000]);
  });

  it('lets the other side ask for more, to an hour', () => {
    expect(pauseAfter(1, webhook(1_000), 5_000, 0.5)).toBe(5_000);
    expect(pauseAfter(5, webhook(1_000), 5_000, 0.5)).toBe(16_000);
    const now = Date.parse('2030-01-01T00:00:00Z');
    expect(retryAfterMs('120', now)).toBe(120_000);
    expect(retryAfterMs('Tue, 01 Jan 2030 00:00:30 GMT', now)).toBe(30_000);
    expect(retryAfterMs('Tue, 01 Jan 2020 00:00:30 GMT', now)).toBe(0);
    for (const text of [null, '', 'soon', '-1x', 'NaN']) expect(retryAfterMs(text, now), String(text)).toBeNull();
  });

  it('runs through a delivery on a virtual clock: so many attempts, each in its time', () => {
    let clock = 0;
    const times: number[] = [];
    let delivery = { maxAttempts: 4, attemptCount: 0, backoffMs: 1_000, purpose: 'webhook' } as LeasedDelivery;
    for (let status = 'PENDING'; status === 'PENDING'; ) {
      times.push(clock);
      const verdict = judgeAttempt({ kind: 'answered', status: 503, retryAfterMs: null }, 'webhook');
      const attempt = { time: clock, durationMs: 0, statusCode: 503, error: 'status' };
      const outcome = settleDelivery(delivery, verdict, attempt, Math.random());
      status = outcome.status;
      clock += outcome.waitMs;
      delivery = { ...delivery, attemptCount: delivery.attemptCount + 1 };
      if (status === 'FAILED')
        expect(outcome.event).toMatchObject({ type: 'webhook.failed', payload: { attempts: 4 } });
    }
    expect(times).toHaveLength(4);
    times.slice(1).forEach((time, i) => {
      const wait = time - times[i]!;
      expect(Math.abs(wait - 1_000 * 2 ** i)).toBeLessThanOrEqual(200 * 2 ** i + 1);
    });
  });
});

describe('An attempt', () => {
  it('succeeds with 2xx alone, and is worth another where that can help', () => {
    const next = (status: number) => judgeAttempt({ kind: 'answered', status, retryAfterMs: null }, 'webhook').next;
    for (const status of [200, 201, 204, 299]) expect(next(status)).toBe('succeeded');
    for (const status of [301, 302, 307, 400, 401, 403, 404, 410, 422]) expect(next(status)).toBe('give_up');
    for (const status of [408, 409, 425, 429, 500, 502, 503, 504]) expect(next(status)).toBe('retry');
    for (const failure of ['connect', 'reset', 'timeout', 'protocol'] as const)
      expect(judgeAttempt({ kind: 'failed', failure }, 'webhook')).toMatchObject({
        next: 'retry',
        error: failure,
        destinationWell: false,
      });
    expect(judgeAttempt({ kind: 'failed', failure: 'aborted' }, 'webhook').next).toBe('release');
    expect(judgeAttempt({ kind: 'failed', failure: 'too_large' }, 'webhook').next).toBe('give_up');
    for (const reason of [
      'CONNECTION_DISABLED',
      'CONNECTION_NOT_FOUND',
      'REAUTHORIZATION_REQUIRED',
      'ADDRESS_FORBIDDEN',
    ] as const)
      expect(judgeAttempt({ kind: 'refused', reason }, 'webhook')).toMatchObject({ next: 'give_up', error: reason });
    expect(judgeAttempt({ kind: 'refused', reason: 'PROVIDER_UNAVAILABLE' }, 'webhook').next).toBe('retry');
    expect(judgeAttempt({ kind: 'refused', reason: 'DATABASE_UNAVAILABLE' }, 'webhook').next).toBe('release');
  });

  it('is signed as Standard Webhooks verify it, with bare secrets too', () => {
    const secrets = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'any text'];
    const message = { id: 'dlv_1', timestamp: Math.floor(Date.now() / 1_000), body: '{"test": "ü"}' };
    const headers = Object.fromEntries(webhookHeaders(message, secrets));
    expect(headers['webhook-signature']?.split(' ')).toHaveLength(2);
    expect(new Webhook(secrets[0]!).verify(message.body, headers)).toEqual({ test: 'ü' });
    expect(new Webhook(secrets[1]!, { format: 'raw' }).verify(message.body, headers)).toEqual({ test: 'ü' });
    for (const altered of [
      { ...headers, 'webhook-id': 'dlv_2' },
      { ...headers, 'webhook-timestamp': String(message.timestamp + 1) },
    ])
      expect(() => new Webhook(secrets[0]!).verify(message.body, altered)).toThrow();
    expect(webhookHeaders(message, []).map(([name]) => name)).toEqual(['webhook-id', 'webhook-timestamp']);
  });
});

describe('Lanes', () => {
  it('give no tenant all the slots of those who may not answer', () => {
    const lanes = new Lanes(() => 0);
    for (let lane = 0; lane < 200; lane++) lanes.takeAtOnce('one', lane);
    const { rooms, mostNew } = lanes.room();
    expect(rooms['one new']).toBe(16);
    for (let lane = 1_000; rooms['one new']! > 0 && lane < 1_016; lane++) lanes.take('one', lane);
    expect(lanes.room().rooms['one new']).toBe(0);
    expect(mostNew).toBeGreaterThan(64);
    expect(lanes.takeAtOnce('two', 1)).not.toBeNull();
  });

  it('keep a destination that does not answer from holding more than a few slots, and leave it alone, longer each time', () => {
    let now = 0;
    const lanes = new Lanes(() => now);
    const pauses: number[] = [];
    for (let round = 0; round < 9; round++) {
      const slots = Array.from({ length: 10 }, () => lanes.takeAtOnce('t', 1)).filter((slot) => slot !== null);
      expect(slots.length).toBe(2);
      for (const slot of slots) lanes.give(slot, false);
      const start = now;
      while (lanes.room().rooms['t 1'] === 0) now += 100;
      pauses.push(now - start);
    }
    expect(pauses).toEqual([0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    const slot = lanes.takeAtOnce('t', 1)!;
    lanes.give(slot, true);
    expect(Array.from({ length: 100 }, () => lanes.takeAtOnce('t', 1)).filter(Boolean)).toHaveLength(16);
  });

  it('leave half of the slots to those that answer, whatever number of others there is', () => {
    const lanes = new Lanes(() => 0);
    lanes.give(lanes.take('good', 7), true);
    const dead: Slot[] = [];
    for (let tenant = 0; tenant < 10; tenant++)
      for (let lane = 0; lane < 100; lane++) {
        const { mostNew, perLane } = lanes.room();
        for (let i = 0; i < Math.min(mostNew, perLane); i++) dead.push(lanes.take(`t${tenant}`, lane));
      }
    expect(dead).toHaveLength(128);
    expect(lanes.room()).toMatchObject({ most: 128, mostNew: 0 });
    expect(lanes.takeAtOnce('new', 1)).toBeNull();
    const good = lanes.room();
    // Named, or it would wait for a slot of those that may not answer.
    expect(good.rooms['good 7']).toBe(32);
    expect(lanes.take('good', 7)).toMatchObject({ isNew: false });
    expect(lanes.room().rooms['good 7']).toBe(31);
  });

  it('keep who answers waiting for nobody of their tenant who does not, also when they have had nothing to do', () => {
    const lanes = new Lanes(() => 0);
    lanes.give(lanes.take('t', 7), true);
    lanes.give(lanes.take('other', 7), true);
    for (let lane = 100; lane < 108; lane++) for (let i = 0; i < 4; i++) lanes.take('t', lane);
    const { rooms } = lanes.room();
    expect(rooms).toMatchObject({ 't new': 0, 't 7': 32 });
    // Nobody keeps it waiting: there may be thousands of them.
    expect(rooms['other 7']).toBeUndefined();
  });

  it('give every slot back', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            tenant: fc.constantFrom('a', 'b'),
            lane: fc.integer({ min: 0, max: 3 }),
            well: fc.constantFrom(true, false, null),
          }),
        ),
        (work) => {
          const lanes = new Lanes(() => 0);
          const before = lanes.room();
          const taken = work.map(({ tenant, lane }) => lanes.take(tenant, lane));
          taken.forEach((slot, i) => {
            lanes.give(slot, work[i]!.well);
          });
          const { most, mostNew } = lanes.room();
          expect({ most, mostNew }).toEqual({ most: before.most, mostNew: before.mostNew });
        },
      ),
    );
  });
});
