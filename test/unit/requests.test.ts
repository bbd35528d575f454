import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LatchkeyError } from '../../src/base/error.ts';
import type { RequestSettings } from '../../src/domain/call.ts';
import { isRepeatable, pauseBeforeRetry, type RetrySituation } from '../../src/domain/requests/decide-retry.ts';
import { mapBody, readMappings } from '../../src/domain/requests/map-response.ts';
import { requestHeaders, targetUrl } from '../../src/domain/requests/outgoing-request.ts';
import { retryAfterMs } from '../../src/domain/requests/retry-after.ts';
import { shownHeaders } from '../../src/domain/requests/shown-headers.ts';

const SETTINGS: RequestSettings = {
  ...{ baseUrl: 'https://api.example.com/v1/?k=1', allowedHosts: ['cdn.example.com', '*.files.example.com'] },
  ...{ defaultHeaders: {}, timeoutMs: 8_000, retries: 2, backoffMs: 250 },
};
const at = (path: string, settings = SETTINGS) => targetUrl(settings, { path, query: [] }).href;
const reasonOf = (call: () => unknown) => {
  try {
    call();
  } catch (error) {
    return error instanceof LatchkeyError ? error.reason : error;
  }
  return 'none';
};

describe('The URL of a request', () => {
  it('lies under the base URL, whose query stays', () => {
    expect(at('')).toBe('https://api.example.com/v1/?k=1');
    expect(at('users')).toBe('https://api.example.com/v1/users?k=1');
    expect(at('/users/?x=a%20b#fragment')).toBe('https://api.example.com/v1/users/?k=1&x=a%20b');
    expect(at('?x=1')).toBe('https://api.example.com/v1/?k=1&x=1');
    expect(at('/a:b/@c//d')).toBe('https://api.example.com/v1/a:b/@c//d?k=1');
  });

  it('may be whole, on a host that is allowed', () => {
    expect(at('https://cdn.example.com/x')).toBe('https://cdn.example.com/x');
    expect(at('https://a.b.files.example.com/x')).toBe('https://a.b.files.example.com/x');
    expect(at('HTTPS://API.example.com/other')).toBe('https://api.example.com/other');
    for (const path of [
      'https://files.example.com/',
      'https://evilfiles.example.com/',
      'http://cdn.example.com/',
      'https://api.example.com:444/',
    ])
      expect(
        reasonOf(() => at(path)),
        path,
      ).toBe('HOST_NOT_ALLOWED');
  });

  it('is on one of the connection’s hosts, whatever is tried', () => {
    const hosts = /^(api|cdn|[a-z0-9-]+\.files)\.example\.com$/;
    const part = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '//',
        '\\',
        '@',
        '..',
        '%2e',
        'http:',
        'https://',
        ':',
        '?',
        '#',
        'evil.test',
        'api.example.com',
        '\t',
        '.',
      ),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        try {
          const url = targetUrl(SETTINGS, { path: parts.join(''), query: [] });
          expect(url.protocol).toBe('https:');
          expect(url.hostname).toMatch(hosts);
          expect(url.username + url.password).toBe('');
        } catch (error) {
          expect(error).toBeInstanceOf(LatchkeyError);
        }
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('The headers of a request', () => {
  it('are the defaults, the caller’s over them, the credential’s over both', () => {
    const headers = requestHeaders(
      { Accept: 'a', 'X-Default': '1', authorization: 'never' },
      [
        ['accept', 'b'],
        ['X-Many', '1'],
        ['x-many', '2'],
        ['Authorization', 'mine'],
        ['X-Key', 'mine'],
        ['Proxy-Anything', 'x'],
        ['Host', 'x'],
      ],
      { headers: [{ name: 'x-key', value: 'secret' }] },
    );
    expect(headers).toEqual([
      ['X-Default', '1'],
      ['authorization', 'never'],
      ['accept', 'b'],
      ['X-Many', '1'],
      ['x-many', '2'],
      ['x-key', 'secret'],
    ]);
  });
});

describe('Headers that are shown', () => {
  it('repeat no part of the credential, however it was sent', () => {
    const basic = Buffer.from('me:pass-word').toString('base64');
    const shown = shownHeaders(
      [
        ['a', `Basic ${basic}`],
        ['b', `x${basic}y`],
        ['c', 'pass-word'],
        ['d', 'fine'],
        ['Set-Cookie', 'x'],
        ['e', encodeURIComponent('k/ey+value')],
        ['g', `BEARER ${Buffer.from('k/ey+value').toString('base64')}`],
        ['h', 'K/EY+VALUE'],
        ['f', 'me'],
      ],
      { secrets: { password: 'pass-word', key: 'k/ey+value' } },
      { headers: [{ name: 'Authorization', value: `Basic ${basic}` }], query: [] },
    );
    expect(shown).toEqual([
      ['d', 'fine'],
      ['f', 'me'],
    ]);
  });
});

describe('Headers of one connection alone', () => {
  it('are those that the Connection header names, too', () => {
    const shown = shownHeaders(
      [
        ['Connection', 'close, X-Hop'],
        ['connection', ' x-other '],
        ['x-hop', '1'],
        ['X-Other', '2'],
        ['x-fine', '3'],
      ],
      { secrets: {} },
      { headers: [], query: [] },
    );
    expect(shown).toEqual([['x-fine', '3']]);
  });
});

describe('Another attempt', () => {
  const situation = (changes: Partial<RetrySituation>): RetrySituation => ({
    ...{
      outcome: { status: 503 },
      repeatable: true,
      repeats: 0,
      retries: 3,
      backoffMs: 100,
      askedMs: null,
      leftMs: 60_000,
      random: 0.5,
    },
    ...changes,
  });

  it('is made for what passes by itself', () => {
    for (const status of [408, 425, 429, 500, 502, 503, 504])
      expect(pauseBeforeRetry(situation({ outcome: { status } })), `${status}`).toBe(100);
    for (const status of [200, 301, 400, 401, 403, 404, 409, 501, 505])
      expect(pauseBeforeRetry(situation({ outcome: { status } })), `${status}`).toBeNull();
    for (const failure of ['connect', 'reset', 'timeout'] as const)
      expect(pauseBeforeRetry(situation({ outcome: { failure, sent: true } }))).toBe(100);
    for (const failure of ['too_large', 'protocol', 'aborted'] as const)
      expect(pauseBeforeRetry(situation({ outcome: { failure, sent: true } }))).toBeNull();
  });

  it('is not made of what may not be repeated, unless nothing left', () => {
    expect(pauseBeforeRetry(situation({ repeatable: false }))).toBeNull();
    expect(pauseBeforeRetry(situation({ repeatable: false, outcome: { failure: 'connect', sent: true } }))).toBeNull();
    expect(pauseBeforeRetry(situation({ repeatable: false, outcome: { failure: 'connect', sent: false } }))).toBe(100);
    expect(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'].every((method) => isRepeatable(method, []))).toBe(true);
    expect(['POST', 'PATCH'].some((method) => isRepeatable(method, []))).toBe(false);
    expect(isRepeatable('POST', [['IDEMPOTENCY-key', 'x']])).toBe(true);
  });

  it('comes after a pause that doubles, ±20 %', () => {
    const pauses = [0, 1, 2].map((repeats) => pauseBeforeRetry(situation({ repeats })));
    expect(pauses).toEqual([100, 200, 400]);
    expect(pauseBeforeRetry(situation({ repeats: 3 }))).toBeNull();
    expect(pauseBeforeRetry(situation({ random: 0 }))).toBeCloseTo(80);
    expect(pauseBeforeRetry(situation({ random: 1 }))).toBeCloseTo(120);
  });

  it('comes when the other side asks for it, or not at all where that is too late', () => {
    expect(pauseBeforeRetry(situation({ askedMs: 5_000 }))).toBe(5_000);
    expect(pauseBeforeRetry(situation({ askedMs: 0 }))).toBe(0);
    expect(pauseBeforeRetry(situation({ askedMs: 31_000 }))).toBeNull();
    expect(pauseBeforeRetry(situation({ askedMs: 5_000, leftMs: 5_000 }))).toBeNull();
  });
});

describe('How long the other side asks to wait', () => {
  const now = Date.parse('2026-11-20T10:00:00Z');
  const wait = (headers: Record<string, string>, own: Parameters<typeof retryAfterMs>[1] = []) =>
    retryAfterMs(new Headers(headers), own, now);

  it('is said in seconds or as a date', () => {
    expect(wait({ 'retry-after': '120' })).toBe(120_000);
    expect(wait({ 'retry-after': ' 1.5 ' })).toBe(1_500);
    expect(wait({ 'retry-after': 'Fri, 20 Nov 2026 10:00:30 GMT' })).toBe(30_000);
    expect(wait({ 'retry-after': 'Fri, 20 Nov 2026 09:00:00 GMT' })).toBe(0);
    for (const value of ['', 'soon', '-5', '1e99', '99999999999999999999'])
      expect(wait({ 'retry-after': value }), value).toBeNull();
    expect(wait({})).toBeNull();
  });

  it('is said in headers of the provider’s own', () => {
    const github = [
      { name: 'x-ratelimit-reset', format: 'epoch_seconds' as const, remaining: 'x-ratelimit-remaining' },
    ];
    const reset = { 'x-ratelimit-reset': String(now / 1000 + 90) };
    expect(wait({ ...reset, 'x-ratelimit-remaining': '0' }, github)).toBe(90_000);
    expect(wait({ ...reset, 'x-ratelimit-remaining': '5' }, github)).toBeNull();
    expect(wait({ ...reset, 'x-ratelimit-remaining': '0', 'retry-after': '3' }, github)).toBe(3_000);
    const durations = {
      '6m0s': 360_000,
      '1s': 1_000,
      '20ms': 20,
      '1h1m1.5s': 3_661_500,
      '1m': 60_000,
      '': null,
      x: null,
    };
    for (const [text, ms] of Object.entries(durations))
      expect(wait({ r: text }, [{ name: 'r', format: 'duration' }]), text).toBe(ms);
    expect(wait({ r: '2026-11-20T10:00:05Z' }, [{ name: 'r', format: 'date' }])).toBe(5_000);
    expect(wait({ r: '250' }, [{ name: 'r', format: 'milliseconds' }])).toBe(250);
    const both = [
      { name: 'a', format: 'seconds' as const },
      { name: 'b', format: 'seconds' as const },
    ];
    expect(wait({ a: '1', b: '7' }, both)).toBe(7_000);
  });
});

describe('Values of an answer', () => {
  it('are not multiplied without bound', () => {
    let document: unknown = 'x'.repeat(100_000);
    for (let depth = 0; depth < 46; depth++) document = { a: document };
    const body = Buffer.from(JSON.stringify(document));
    const all = readMappings([{ as: 'x', select: '$..*' }]);
    expect(mapBody(all, body)).toEqual({ mapped: {}, error: 'the mapped values are too large' });
    expect(mapBody(readMappings([{ as: 'x', select: '$.a.a' }]), body).error).toBe('');
  });
});
