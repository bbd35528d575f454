import { describe, expect, it } from 'vitest';
import type { LatchkeyError } from '../../src/base/error.ts';
import type { App, Call } from '../../src/domain/call.ts';
import type { LeasedDelivery } from '../../src/domain/deliveries.ts';
import { bodyFor } from '../../src/domain/endpoints/audience.ts';
import { hasFailedFor } from '../../src/domain/endpoints/disable-endpoint.ts';
import { checkedUrl } from '../../src/domain/endpoints/endpoint-input.ts';
import { deliveriesOf } from '../../src/domain/endpoints/tell-events.ts';
import { judgeAttempt } from '../../src/domain/webhooks/judge-attempt.ts';
import { EVENT_PAUSES_MS, pauseAfter } from '../../src/domain/webhooks/schedule.ts';
import { settleDelivery } from '../../src/domain/webhooks/settle-delivery.ts';
import { Egress } from '../../src/egress/egress.ts';
import type { EventEndpoint } from '../../src/model/event-endpoint.ts';
import type { EventRow } from '../../src/model/outbox-event.ts';

const [SECOND, HOUR, DAY] = [1_000, 3_600_000, 86_400_000];
const event = { purpose: 'event' as const, backoffMs: 5 * SECOND };

describe('The schedule of events', () => {
  it('is that of Standard Webhooks, within 20 % either way, on a virtual clock', () => {
    for (const random of [0, 0.5, 0.999]) {
      const waits: number[] = [];
      let delivery = { ...event, maxAttempts: 10, attemptCount: 0 } as LeasedDelivery;
      for (let status = 'PENDING'; status === 'PENDING'; ) {
        const verdict = judgeAttempt({ kind: 'answered', status: 500, retryAfterMs: null }, 'event');
        const attempt = { time: 0, durationMs: 0, statusCode: 500, error: 'status' };
        const outcome = settleDelivery(delivery, verdict, attempt, random);
        status = outcome.status;
        if (status === 'PENDING') waits.push(outcome.waitMs);
        // It would be sent to the endpoint that fails.
        expect(outcome.event).toBeNull();
        delivery = { ...delivery, attemptCount: delivery.attemptCount + 1 };
      }
      expect(waits).toHaveLength(9);
      waits.forEach((wait, i) => {
        expect(Math.abs(wait - EVENT_PAUSES_MS[i]!)).toBeLessThanOrEqual(EVENT_PAUSES_MS[i]! * 0.2 + 1);
      });
    }
  });

  it('lets the other side ask for more, to a little over a day', () => {
    expect(pauseAfter(1, event, 60 * SECOND, 0.5)).toBe(60 * SECOND);
    expect(pauseAfter(4, event, SECOND, 0.5)).toBe(2 * HOUR);
    expect(pauseAfter(1, event, 365 * DAY, 0.5)).toBe(1.2 * DAY);
  });

  it('goes on whatever is answered but 2xx, and ends with 410', () => {
    const judged = (status: number) => judgeAttempt({ kind: 'answered', status, retryAfterMs: null }, 'event');
    for (const status of [301, 400, 401, 404, 422, 429, 500]) expect(judged(status).next).toBe('retry');
    expect(judged(204)).toMatchObject({ next: 'succeeded', gone: false });
    expect(judged(410)).toMatchObject({ next: 'give_up', gone: true });
    const refused = (reason: 'ADDRESS_FORBIDDEN' | 'EVENT_ENDPOINT_DISABLED') =>
      judgeAttempt({ kind: 'refused', reason }, 'event').next;
    expect([refused('ADDRESS_FORBIDDEN'), refused('EVENT_ENDPOINT_DISABLED')]).toEqual(['retry', 'give_up']);
  });
});

describe('An endpoint that fails', () => {
  it('has failed for days when there were failures over days, and no success since the first', () => {
    const start = new Date('2030-01-01T00:00:00Z');
    const at = (ms: number) => ({ enabled: true, failingSince: start, failedTime: new Date(start.getTime() + ms) });
    expect(hasFailedFor(at(5 * DAY - 1), 5 * DAY)).toBe(false);
    expect(hasFailedFor(at(5 * DAY), 5 * DAY)).toBe(true);
    expect(hasFailedFor({ ...at(9 * DAY), enabled: false }, 5 * DAY)).toBe(false);
    expect(hasFailedFor({ ...at(9 * DAY), failingSince: null }, 5 * DAY)).toBe(false);
    expect(hasFailedFor({ ...at(0), failedTime: null }, 0)).toBe(false);
  });
});

describe('The URL of an endpoint', () => {
  const egress = new Egress({ allow: ['localhost', '10.0.0.0/8'] });
  const failureOf = (url: string, production: boolean) => {
    const app = { egress, config: { production }, publicUrl: 'https://keys.example' };
    try {
      return checkedUrl({ app } as unknown as Call, url);
    } catch (error) {
      return (error as LatchkeyError).reason;
    }
  };

  it('is https, or in development http to what the operator names; and never this service', () => {
    for (const url of ['http://localhost:1/', 'http://10.1.2.3/']) {
      expect(failureOf(url, false)).toBe(url);
      expect(failureOf(url, true)).toBe('FIELD_INVALID');
    }
    expect(failureOf('http://hooks.example/', false)).toBe('FIELD_INVALID');
    expect(failureOf('https://hooks.example/a#b', true)).toBe('https://hooks.example/a');
    expect(failureOf('https://192.168.0.1/', true)).toBe('ADDRESS_FORBIDDEN');
    expect(failureOf('https://keys.example/webhooks/iep_1', true)).toBe('FIELD_INVALID');
  });
});

describe('What an endpoint is sent', () => {
  const row: EventRow = {
    ...{ tenantId: 't', id: 'evt_1', type: 'connection.created', aggregateType: 'connection', aggregateId: 'conn_1' },
    ...{ generation: 1, ownerUserId: null, projectId: null, payload: { name: 'a', count: 3 } },
    ...{ createTime: new Date('2030-01-01T00:00:00.123Z'), position: 1 },
  };
  const endpoint = (other: object = {}) =>
    ({
      ...{ tenantId: 't', projectId: null, eventTypes: [], filter: '' },
      audience: { administrator: false, permissions: ['connection:read'], projectIds: null },
      ...other,
    }) as unknown as EventEndpoint;
  const isSent = (to: object, of: object = {}) => bodyFor(endpoint(to), { ...row, ...of }) !== null;
  const administrator = { audience: { administrator: true, permissions: [], projectIds: null } };

  it('has the same body each time', () => {
    expect(JSON.stringify(bodyFor(endpoint(), row))).toBe(
      '{"type":"connection.created","timestamp":"2030-01-01T00:00:00.123Z","data":{"id":"evt_1","aggregate_type":"connection","aggregate_id":"conn_1","generation":1,"project_id":null,"payload":{"name":"a","count":3}}}',
    );
  });

  it('is of its types', () => {
    const types: [string[], boolean][] = [
      [['connection.created'], true],
      [['connection.*'], true],
      [['secret.*', 'connection.deleted'], false],
      [['connection.create'], false],
    ];
    for (const [eventTypes, sent] of types) expect(isSent({ eventTypes }), eventTypes.join()).toBe(sent);
  });

  it('is made in parts where filters take long: whoever makes it holds a lease', async () => {
    let passed = 0;
    const clock = { now: () => 0, monotonic: () => passed };
    const app = { clock, keyring: { sealer: async () => () => Buffer.alloc(1) } } as unknown as App;
    const events = Array.from({ length: 100 }, (_, i) => ({ ...row, id: `evt_${i}`, position: i + 1 }));
    const to = [endpoint({ id: 'eep_1', url: 'https://hooks.example/' })];
    const batch = await deliveriesOf(app, 't', events, to, (one, event) => {
      passed += 1_000;
      return bodyFor(one, event);
    });
    expect(batch).toMatchObject({ last: { id: 'evt_5' } });
    expect(batch.deliveries.map(({ task }) => task.messageId)).toEqual(events.slice(0, 6).map(({ id }) => id));
  });

  it('passes its filter; one that fails does not hold', () => {
    const filters: [string, boolean][] = [
      ['event.type == "connection.created" && event.data.payload.count > 2', true],
      ['event.data.payload.name == "b"', false],
      ['event.data.payload.missing == "b"', false],
      ['has(event.data.payload.missing) || event.data.payload.name.matches("^a$")', true],
      ['event.data.payload.name', false],
    ];
    for (const [filter, sent] of filters) expect(isSent({ filter }), filter).toBe(sent);
  });

  it('is what its audience may see, of its project and of the whole tenant', () => {
    expect([isSent({}, { ownerUserId: 'u' }), isSent(administrator, { ownerUserId: 'u' })]).toEqual([false, true]);
    expect([isSent({}, { projectId: 'p1' }), isSent({ projectId: 'p1' }, { projectId: 'p1' })]).toEqual([true, true]);
    expect(isSent({ projectId: 'p2' }, { projectId: 'p1' })).toBe(false);
    expect(isSent({ ...administrator, projectId: 'p2' }, { projectId: 'p1' })).toBe(false);
    const limited = { audience: { administrator: false, permissions: ['connection:read'], projectIds: ['p1'] } };
    expect([isSent(limited, { projectId: 'p1' }), isSent(limited, { projectId: 'p2' })]).toEqual([true, false]);
    const user = { aggregateType: 'user', type: 'user.created' };
    expect([isSent({}, user), isSent(administrator, user)]).toEqual([false, true]);
  });
});
