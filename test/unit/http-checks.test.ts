import { describe, expect, it } from 'vitest';
import { LatchkeyError } from '../../src/base/error.ts';
import type { ReadyCredential } from '../../src/domain/call.ts';
import { decideHealth } from '../../src/domain/checks/decide-health.ts';
import { httpCheckOf } from '../../src/domain/checks/http-check.ts';
import { judgeAnswer } from '../../src/domain/checks/judge-answer.ts';
import type { ConnectionView } from '../../src/domain/connections/connection-view.ts';
import type { CHECK_STATUSES, Health } from '../../src/model/connection-health.ts';
import type { JsonObject } from '../../src/model/json.ts';
import { catalog } from '../../src/providers/catalog.ts';
import type { ProviderDefinition } from '../../src/providers/types.ts';

type Given = {
  definition: ProviderDefinition;
  kind: string;
  custom?: boolean;
  config?: JsonObject;
  parameters?: Record<string, string>;
  fields?: JsonObject;
};

/** The URL of the check of a connection whose own host is another than the provider's. */
function checkedAt({ definition, kind, custom = false, config = {}, parameters, fields = {} }: Given): string | null {
  const baseUrl = 'https://own.example.com/';
  const view = { connection: { httpCheck: null, kind, baseUrl, config } } as ConnectionView;
  const requests = { baseUrl, allowedHosts: [] as string[] };
  const credential = { kind, fields, secrets: {}, requests } as unknown as ReadyCredential;
  return (
    httpCheckOf({ view, credential, provider: { definition, custom, etag: '', parameters: parameters ?? null } })?.url
      .href ?? null
  );
}

const entry = (name: string) => catalog.get(name)!;

function reasonOf(work: () => unknown): string {
  try {
    work();
    return '';
  } catch (error) {
    return error instanceof LatchkeyError ? error.reason : String(error);
  }
}

describe('Where a credential is checked', () => {
  it('is where the entry of the catalog says', () => {
    const at = (name: string, kind: string, more: Partial<Given> = {}) =>
      checkedAt({ definition: entry(name), kind, ...more });
    expect(at('stripe', 'bearer')).toBe('https://api.stripe.com/v1/account');
    expect(at('github', 'oauth2')).toBe('https://api.github.com/user');
    expect(at('clio', 'bearer')).toMatch(/^https:\/\/app\.clio\.com\/api\/v4\/users\/who_am_i/);
    expect(at('clio', 'bearer', { config: { region_host: 'eu.app.clio.com' } })).toMatch(
      /^https:\/\/eu\.app\.clio\.com\//,
    );
    expect(at('jira', 'basic', { config: { site: 'acme' } })).toBe('https://acme.atlassian.net/rest/api/3/myself');
    expect(at('salesforce', 'oauth2', { parameters: { domain: 'login' } })).toMatch(
      /^https:\/\/login\.salesforce\.com\//,
    );
    expect(at('salesforce', 'oauth2', { config: { domain: 'test' } })).toMatch(/^https:\/\/test\.salesforce\.com\//);
    expect(at('anthropic', 'api_key', { fields: { location: 'header' } })).toBe('https://api.anthropic.com/v1/models');
    expect(at('http', 'bearer')).toBe('https://own.example.com/');
  });

  it('is never where a connection’s own settings lead it', () => {
    const jira = entry('jira');
    for (const site of ['evil.com/', 'evil.com#', 'a@evil.com', 'evil.com:1', '..', 'x y', 'e%2fvil'])
      expect(
        reasonOf(() => checkedAt({ definition: jira, kind: 'basic', config: { site } })),
        site,
      ).toBe('FIELD_INVALID');
    const clio = { definition: entry('clio'), kind: 'bearer', config: { region_host: 'evil.com' } };
    expect(reasonOf(() => checkedAt(clio))).toBe('FIELD_INVALID');
    const open = (url: string): ProviderDefinition => ({
      ...{ name: 'x', displayName: 'x', parameters: [{ name: 'host' }, { name: 'base', url: true }] },
      keys: [{ kind: 'bearer', displayName: 'x', check: { url } }],
    });
    const config = { host: 'evil.com', base: 'https://evil.com' };
    for (const url of ['https://{host}/me', 'https://{host}.com/me', '{base}/me'])
      expect(
        reasonOf(() => checkedAt({ definition: open(url), kind: 'bearer', config })),
        url,
      ).toBe('HOST_NOT_ALLOWED');
  });

  it('is only on the connection’s hosts for a provider of the tenant’s own', () => {
    for (const [name, kind] of [
      ['stripe', 'bearer'],
      ['github', 'oauth2'],
    ] as const)
      expect(reasonOf(() => checkedAt({ definition: entry(name), kind, custom: true }))).toBe('HOST_NOT_ALLOWED');
  });
});

describe('What an answer says', () => {
  const rules = { accountId: ['/id'], email: ['/email'] };
  const judged = (status: number, body: unknown, secrets: string[] = []) =>
    judgeAnswer(rules, { status, headers: new Headers(), text: JSON.stringify(body) }, secrets);

  it('holds no secret, whichever way a server gives it back', () => {
    const secret = 'sk/live+4242==';
    const forms = [secret, `x${secret}x`, encodeURIComponent(secret), Buffer.from(secret).toString('base64')];
    for (const form of forms)
      expect(JSON.stringify(judged(200, { id: form, email: `${form}@x` }, [secret])), form).not.toContain(form);
    expect(judged(200, { id: 'live+4242' }, [secret]).accountId).toBe('');
    expect(judged(200, { id: 'acct_1', email: 'a@b' }, [secret])).toMatchObject({
      accountId: 'acct_1',
      accountEmail: 'a@b',
    });
  });

  it('is taken from no answer but a good one', () => {
    expect(judged(401, { id: 'acct_1' }).accountId).toBeUndefined();
    expect(judgeAnswer(rules, { status: 200, headers: new Headers(), text: '<html>' }, [])).toMatchObject({
      ...{ status: 'VALID', accountId: '' },
    });
  });
});

describe('The health of a connection', () => {
  const thresholds = { failures: 3, recoveries: 2 };
  const healthAfter = (...statuses: (typeof CHECK_STATUSES)[number][]) =>
    statuses.reduce((state, status) => decideHealth(state, status, thresholds), {
      ...{ health: 'UNKNOWN' as Health, failures: 0, successes: 0 },
    });

  it('changes at the thresholds, and not before', () => {
    expect(healthAfter('VALID').health).toBe('HEALTHY');
    expect(healthAfter('INVALID', 'UNREACHABLE').health).toBe('UNKNOWN');
    expect(healthAfter('VALID', 'INVALID', 'UNREACHABLE', 'VALID', 'INVALID', 'INVALID').health).toBe('HEALTHY');
    expect(healthAfter('VALID', 'INVALID', 'UNREACHABLE', 'EXPIRED').health).toBe('UNHEALTHY');
    expect(healthAfter('INVALID', 'INVALID', 'INVALID', 'VALID').health).toBe('UNHEALTHY');
    expect(healthAfter('INVALID', 'INVALID', 'INVALID', 'VALID', 'RESTRICTED').health).toBe('HEALTHY');
  });

  it('is not changed by what tells nothing', () => {
    const state = healthAfter('VALID', 'INVALID', 'INVALID');
    for (const status of ['UNKNOWN', 'RATE_LIMITED', 'DISABLED', 'PENDING', 'REVOKED', 'UNSUPPORTED'] as const)
      expect(decideHealth(state, status, thresholds)).toEqual(state);
  });
});
