import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ReplicaCache } from '../../src/base/cache.ts';
import { Gatherer } from '../../src/base/gatherer.ts';
import { newId } from '../../src/base/id.ts';
import { errorSummary } from '../../src/base/log.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import { SecretText } from '../../src/base/secret-text.ts';
import { readConfig } from '../../src/config.ts';
import { PageTokens, pageSizeOf } from '../../src/db/paging.ts';
import { expandScopes, PERMISSIONS, permissionsOf } from '../../src/domain/access/permissions.ts';
import { callerAddress } from '../../src/server/address.ts';

describe('An id', () => {
  it('is prefixed, unique and in order of time', () => {
    const ids = Array.from({ length: 20_000 }, () => newId('conn'));
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids.slice(0, 100)) expect(id).toMatch(/^conn_[0-9a-hjkmnp-tv-z]{26}$/);
    const times = [0, 1, 31, 32, 1e12, 1.9e12, 2 ** 48 - 1];
    const inOrder = times.map((time) => newId('aud', time).slice(0, 14));
    expect(inOrder).toEqual([...inOrder].sort());
    expect(new Set(inOrder).size).toBe(times.length);
  });
});

describe('A secret text', () => {
  it('shows itself to nobody who does not ask', () => {
    const secret = new SecretText('hunter2');
    const shown = [
      JSON.stringify({ secret }),
      String(secret),
      `${secret}`,
      inspect(secret),
      inspect({ nested: { secret } }),
      JSON.stringify(errorSummary(new Error('x', { cause: secret }))),
    ];
    for (const text of shown) expect(text).not.toContain('hunter2');
    expect(secret.reveal()).toBe('hunter2');
  });
});

describe('The settings', () => {
  it('have defaults', () => {
    expect(readConfig({})).toMatchObject({
      grpcPort: 50051,
      httpPort: 8080,
      workers: 1,
      host: '127.0.0.1',
      auditReads: 'batched',
      dataDir: '.latchkey',
    });
    expect(Object.isFrozen(readConfig({}).database)).toBe(true);
  });

  it('say all that is wrong at once', () => {
    const wrong = {
      GRPC_PORT: 'x',
      HTTP_PORT: '70000',
      OIDC_ISSUER: 'https://idp.example',
      AUDIT_READS: 'maybe',
      LATCHKEY_ADMIN_KEY: 'short',
      LATCHKEY_MASTER_KEY: 'c2hvcnQ=',
      TLS_CERT: '/nowhere',
      DATABASE_URL: 'mysql://x',
      EGRESS_ALLOW: 'localhost, 10.0.0/8',
    };
    const faults = (() => {
      try {
        readConfig(wrong);
        return '';
      } catch (error) {
        return String(error);
      }
    })();
    for (const name of [
      'GRPC_PORT',
      'HTTP_PORT',
      'OIDC_AUDIENCE',
      'AUDIT_READS',
      'LATCHKEY_ADMIN_KEY',
      'LATCHKEY_MASTER_KEY',
      'TLS_CERT',
      'DATABASE_URL',
      'EGRESS_ALLOW: "10.0.0/8"',
    ]) {
      expect(faults).toContain(name);
    }
    expect(faults).not.toContain('c2hvcnQ=');
  });

  it('must be complete in production', () => {
    expect(() => readConfig({ NODE_ENV: 'production' })).toThrow(
      /DATABASE_URL[\s\S]*LATCHKEY_MASTER_KEY[\s\S]*OIDC_ISSUER or LATCHKEY_ADMIN_KEY/,
    );
    const complete = {
      NODE_ENV: 'production',
      DATABASE_URL: 'postgresql://x',
      LATCHKEY_MASTER_KEY: Buffer.alloc(32).toString('base64'),
      LATCHKEY_ADMIN_KEY: 'x'.repeat(32),
    };
    expect(readConfig(complete)).toMatchObject({ host: '0.0.0.0', egressAllow: [] });
    expect(readConfig({}).egressAllow).toEqual(['localhost', '127.0.0.0/8', '::1']);
  });
});

describe('Permissions', () => {
  it('come from scopes', () => {
    expect(expandScopes(['*'])).toEqual(PERMISSIONS.filter((permission) => permission !== 'tenant:manage'));
    expect(expandScopes(['secret:*', 'audit:read'])).toEqual([
      'secret:read',
      'secret:use',
      'secret:manage',
      'audit:read',
    ]);
    expect(expandScopes(['tenant:*'])).toEqual([]);
    expect(expandScopes(['tenant:manage'])).toEqual(['tenant:manage']);
    expect(expandScopes(['nonsense'])).toEqual([]);
  });

  it('come from roles; everyone is a requestor', () => {
    expect([...permissionsOf([]).all]).toEqual(['integration:read']);
    expect(permissionsOf(['unknown']).own.has('connection:create')).toBe(true);
    expect(permissionsOf(['approver']).all.has('connection:read')).toBe(true);
    expect(permissionsOf(['resource_manager']).all.has('credential:read')).toBe(false);
  });
});

describe('Pages', () => {
  it('have a size', () => {
    expect([0, 1, 100, 101, 1e9].map(pageSizeOf)).toEqual([20, 1, 100, 100, 100]);
  });

  it('are found again by an authenticated token of the same list', () => {
    const tokens = new PageTokens(Buffer.alloc(32, 1));
    const token = tokens.issue('list a', ['name', 'id', 3]);
    expect(tokens.read('list a', token)).toEqual(['name', 'id', 3]);
    expect(() => tokens.read('list b', token)).toThrow();
    expect(() => new PageTokens(Buffer.alloc(32, 2)).read('list a', token)).toThrow();
    for (const bad of ['', 'AAAA', token.slice(1), `${token}AAAA`]) expect(() => tokens.read('list a', bad)).toThrow();
  });
});

describe('The caller’s address', () => {
  it('is the peer, or what trusted proxies say', () => {
    expect(callerAddress('10.0.0.1', '1.1.1.1, 2.2.2.2', 0)).toBe('10.0.0.1');
    expect(callerAddress('10.0.0.1', '1.1.1.1, 2.2.2.2', 1)).toBe('2.2.2.2');
    expect(callerAddress('10.0.0.1', '1.1.1.1, 2.2.2.2', 2)).toBe('1.1.1.1');
    expect(callerAddress('10.0.0.1', '1.1.1.1', 3)).toBe('1.1.1.1');
    expect(callerAddress('10.0.0.1', undefined, 1)).toBe('10.0.0.1');
  });
});

describe('A cache', () => {
  const cacheOf = (maxEntries = 10, trusted = () => true) =>
    new ReplicaCache<{ v: number }>({ name: 'test', maxEntries, metrics: createMetrics(), trusted });

  it('shares one load among those who wait', async () => {
    const cache = cacheOf();
    let loads = 0;
    const gate = Promise.withResolvers<{ v: number }>();
    const load = () => {
      loads += 1;
      return gate.promise;
    };
    const waiting = [cache.get('a', load), cache.get('a', load)];
    gate.resolve({ v: 1 });
    expect(await Promise.all(waiting)).toEqual([{ v: 1 }, { v: 1 }]);
    expect(loads).toBe(1);
    expect(cache.peek('a')).toEqual({ v: 1 });
  });

  it('does not keep what changed while it was loaded', async () => {
    const cache = cacheOf();
    for (const change of [() => cache.drop('a'), () => cache.dropWhere(() => false), () => cache.clear()]) {
      const gate = Promise.withResolvers<{ v: number }>();
      const loading = cache.get('a', () => gate.promise);
      change();
      gate.resolve({ v: 1 });
      expect(await loading).toEqual({ v: 1 });
      expect(cache.peek('a')).toBeUndefined();
    }
  });

  it('is not believed while changes are not heard', async () => {
    let trusted = true;
    const cache = cacheOf(10, () => trusted);
    await cache.get('a', async () => ({ v: 1 }));
    trusted = false;
    expect(cache.peek('a')).toBeUndefined();
    expect(await cache.get('a', async () => ({ v: 2 }))).toEqual({ v: 2 });
  });

  it('keeps no more than it may, nothing at all with 0, and no failure', async () => {
    const small = cacheOf(2);
    for (const key of ['a', 'b', 'c']) await small.get(key, async () => ({ v: 1 }));
    expect(small.size).toBe(2);
    const none = cacheOf(0);
    await none.get('a', async () => ({ v: 1 }));
    expect(none.size).toBe(0);
    const cache = cacheOf();
    await expect(cache.get('a', () => Promise.reject(new Error('x')))).rejects.toThrow('x');
    expect(await cache.get('a', async () => ({ v: 1 }))).toEqual({ v: 1 });
  });
});

describe('Reading together', () => {
  const gather = (most: number) => {
    const readings: string[][] = [];
    const gatherer = new Gatherer<string>(async (group, keys) => {
      readings.push([group, ...keys]);
      if (keys.includes('bad')) throw new Error('unreadable');
      return new Map(keys.filter((key) => key !== 'absent').map((key) => [key, `${group}.${key}`]));
    }, most);
    return { readings, get: (group: string, key: string) => gatherer.get(group, key) };
  };

  it('is one reading for what a group is asked in one turn, each key once', async () => {
    const { readings, get } = gather(10);
    const asked = [get('a', '1'), get('b', '1'), get('a', '2'), get('a', '1'), get('a', 'absent')];
    expect(await Promise.all(asked)).toEqual(['a.1', 'b.1', 'a.2', 'a.1', undefined]);
    expect(readings).toEqual([
      ['a', '1', '2', 'absent'],
      ['b', '1'],
    ]);
  });

  it('has a limit, and reads anew in the next turn', async () => {
    const { readings, get } = gather(2);
    expect(await Promise.all(['1', '2', '3'].map((key) => get('a', key)))).toEqual(['a.1', 'a.2', 'a.3']);
    expect(await get('a', '1')).toBe('a.1');
    expect(readings).toEqual([
      ['a', '1', '2'],
      ['a', '3'],
      ['a', '1'],
    ]);
  });

  it('fails whoever asked together, and nobody after', async () => {
    const { get } = gather(10);
    const outcomes = await Promise.allSettled([get('a', '1'), get('a', 'bad'), get('b', '1')]);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected', 'fulfilled']);
    expect(await get('a', '1')).toBe('a.1');
  });
});
