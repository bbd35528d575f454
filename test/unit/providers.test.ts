import { fromJson, toJson } from '@bufbuild/protobuf';
import { createValidator } from '@bufbuild/protovalidate';
import { describe, expect, it } from 'vitest';
import { ProviderDefinitionSchema } from '../../gen/latchkey/v1/provider_pb.ts';
import { LatchkeyError } from '../../src/base/error.ts';
import { pointer } from '../../src/base/json-pointer.ts';
import type { OAuthDefinition } from '../../src/oauth/definition.ts';
import { catalog } from '../../src/providers/catalog.ts';
import { checkDefinition } from '../../src/providers/check-definition.ts';
import {
  checkKey,
  endpointsOf,
  isAtRisk,
  kindsOf,
  ONE_CRASH_BOUND_S,
  parametersOf,
} from '../../src/providers/provider.ts';
import { fillIn, isUrlPart } from '../../src/providers/template.ts';
import type { KeyDefinition, ProviderDefinition } from '../../src/providers/types.ts';

const validator = createValidator();

function entry(name: string): ProviderDefinition {
  const found = catalog.get(name);
  if (!found) throw new Error(`no ${name}`);
  return found;
}

function oauthOf(name: string): OAuthDefinition {
  const { oauth } = entry(name);
  if (!oauth) throw new Error(`${name} has no OAuth`);
  return oauth;
}

function urlsOf({ apiBaseUrl, oauth, keys = [] }: ProviderDefinition): string[] {
  const urls = [apiBaseUrl, oauth?.identity?.url, oauth?.revocation?.url, ...keys.map(({ check }) => check?.url)];
  return [...urls, ...Object.values(oauth ? endpointsOf(oauth) : {})].filter((url) => url !== undefined);
}

/** The faults of a call by field; none where it succeeds. */
function faultsOf(call: () => unknown): Record<string, string> {
  try {
    call();
    return {};
  } catch (error) {
    if (!(error instanceof LatchkeyError)) throw error;
    expect(error.reason).toBe('FIELD_INVALID');
    return Object.fromEntries(error.fields.map(({ field, description }) => [field, description]));
  }
}

describe('The catalog', () => {
  it('is in alphabetical order, each entry under its own name', () => {
    const names = [...catalog.keys()];
    expect(names).toEqual([...names].sort());
    expect([...catalog.values()].map(({ name }) => name)).toEqual(names);
    expect(names.join(' ')).toBe(
      'anthropic aws-s3 bexio clio clio-platform ftp github github-app google http hubspot jira langflow microsoft notion openai quickbooks ' +
        'salesforce slack smtp stripe stripe-apps twilio',
    );
  });

  it('knows which providers a crash can cost a refresh token', () => {
    const atRisk = [...catalog.values()].filter((one) => isAtRisk(one, ONE_CRASH_BOUND_S)).map(({ name }) => name);
    const strict = 'bexio clio-platform github-app jira notion quickbooks salesforce slack stripe-apps';
    expect(atRisk).toEqual(strict.split(' '));
  });
});

describe.each([...catalog])('The catalog’s %s', (name, definition) => {
  it('is what the contract says, with nothing lost', () => {
    const message = fromJson(ProviderDefinitionSchema, definition, { ignoreUnknownFields: false });
    const result = validator.validate(ProviderDefinitionSchema, message);
    expect(result.violations?.map(String) ?? []).toEqual([]);
    expect(result.kind).toBe('valid');
    expect(toJson(ProviderDefinitionSchema, message)).toEqual(definition);
  });

  it('obeys the rules beyond the contract', () => {
    expect(faultsOf(() => checkDefinition(definition, 'definition'))).toEqual({});
  });

  it('says where and when its facts were read', () => {
    expect(definition.verifiedAt).toMatch(/^2026-/);
    expect(definition.sources?.length).toBeGreaterThan(0);
    for (const source of [...(definition.sources ?? []), definition.documentationUrl ?? '']) {
      expect(new URL(source).protocol, source).toBe('https:');
    }
  });

  it('has HTTPS URLs, whatever its parameters are', () => {
    const open = {
      username: 'u',
      host: 'h',
      region: 'r',
      bucket: 'b',
      endpoint: 'e',
      client_id: 'c',
      account_sid: 'AC1',
    };
    const { parameters = [] } = definition;
    const defaults = Object.fromEntries(parameters.map((one) => [one.name, one.defaultValue || 'x']));
    const choices = parameters.flatMap((one) => (one.choices ?? []).map((value) => ({ [one.name]: value })));
    for (const values of [{}, ...choices]) {
      for (const url of urlsOf(definition)) {
        const { protocol, href } = new URL(fillIn(url, { ...open, ...defaults, ...values }));
        expect(protocol, href).toBe('https:');
        expect(decodeURI(href)).not.toMatch(/[{}]/);
      }
    }
  });

  it('can be connected, and takes its own defaults', () => {
    const kinds = kindsOf(definition);
    expect(kinds.length, name).toBeGreaterThan(0);
    expect(new Set(kinds).size).toBe(kinds.length);
    if (kinds.includes('oauth2')) {
      expect(faultsOf(() => parametersOf(definition, {}, 'settings', 'oauth2'))).toEqual({});
    }
  });

  it('keeps no token among what it keeps', () => {
    const kept = { ...definition.oauth?.answer?.kept, ...definition.oauth?.identity?.kept };
    for (const place of Object.values(kept)) expect(place).not.toMatch(/token|secret|webhook\/url/);
  });
});

describe('Of the providers,', () => {
  it('Google gives a refresh token each time the user agrees', () => {
    const parameters = oauthOf('google').authorizationParameters;
    expect(parameters).toMatchObject({ access_type: 'offline', prompt: 'consent', include_granted_scopes: 'true' });
    expect(oauthOf('google').scopes?.always).toEqual(['openid', 'email']);
    expect(oauthOf('google').revocation).toMatchObject({ url: 'https://oauth2.googleapis.com/revoke' });
  });

  it('Twilio has its token URL, and no user to ask', () => {
    expect(oauthOf('twilio').tokenUrl).toBe('https://oauth.twilio.com/v2/token');
    expect(kindsOf(entry('twilio'))).toEqual(['client_credentials', 'basic']);
  });

  it('Clio and Bexio give access tokens that end, and refresh tokens', () => {
    expect(oauthOf('clio').lifetimes?.accessTokenS).toBe(30 * 86_400);
    expect(oauthOf('clio-platform')).toMatchObject({
      rotation: { class: 'strict' },
      lifetimes: { accessTokenS: 86_400 },
    });
    expect(oauthOf('bexio').scopes?.always).toContain('offline_access');
    for (const name of ['clio', 'clio-platform', 'bexio']) {
      expect(kindsOf(entry(name))[0]).toBe('oauth2');
      // Absent: the member of RFC 6749.
      expect(oauthOf(name).answer?.refreshToken).toBeUndefined();
    }
    expect(oauthOf('clio').tokenUrl).not.toContain('api.clio.com');
    expect(oauthOf('bexio')).toMatchObject({ sendsIss: true, issuer: 'https://auth.bexio.com/realms/bexio' });
  });

  it('Slack fails with 200, has no PKCE, and a second token', () => {
    const slack = oauthOf('slack');
    expect(slack).toMatchObject({ pkce: 'none', errors: { failurePointer: '/ok', failureWhen: 'false' } });
    const failed = { ok: false, error: 'invalid_refresh_token' };
    expect(pointer(failed, slack.errors?.failurePointer ?? '')).toBe(false);
    expect(slack.errors?.permanent).toContain(pointer(failed, slack.errors?.codePointer ?? ''));
    expect(slack.scopes).toMatchObject({ separator: ',', grantedSeparator: ',' });
    const answer = {
      access_token: 'a',
      authed_user: { id: 'U1', access_token: 'b' },
      team: { id: 'T1' },
      enterprise: null,
    };
    expect(pointer(answer, slack.subCredentials?.[0]?.accessToken ?? '')).toBe('b');
    const kept = slack.answer?.kept ?? {};
    expect(pointer(answer, kept.team_id ?? '')).toBe('T1');
    expect(pointer(answer, kept.enterprise_id ?? '')).toBeUndefined();
  });

  it.each(['github', 'github-app'])(
    '%s answers in JSON, fails with 200, and loses the token, never the grant',
    (name) => {
      const github = oauthOf(name);
      expect(github.tokenHeaders).toEqual({ Accept: 'application/json' });
      expect(github.errors).toMatchObject({ failurePointer: '/error', failureWhen: 'present' });
      expect(github.errors?.permanent).toContain('bad_refresh_token');
      expect(github.revocation).toMatchObject({ method: 'DELETE', tokenParameter: 'access_token', bodyFormat: 'json' });
      const url = fillIn(github.revocation?.url ?? '', { client_id: 'Iv1.abc' });
      expect(url).toBe('https://api.github.com/applications/Iv1.abc/token');
    },
  );

  it('GitHub writes scopes with spaces and reads them with commas; its apps have none', () => {
    expect(oauthOf('github').scopes).toMatchObject({ separator: ' ', grantedSeparator: ',' });
    expect(oauthOf('github-app').scopes).toBeUndefined();
    expect(oauthOf('github-app').rotation).toEqual({ class: 'strict', killsOldAccessToken: true });
  });

  it('Atlassian wants an audience; no code of a passing failure hides a dead grant', () => {
    const jira = oauthOf('jira');
    expect(jira.authorizationParameters).toMatchObject({ audience: 'api.atlassian.com', prompt: 'consent' });
    expect(jira.scopes?.always).toContain('offline_access');
    expect(jira.errors?.transient ?? []).not.toContain('invalid_grant');
    expect(jira.revocation).toBeUndefined();
    expect(kindsOf(entry('jira'))).toEqual(['oauth2', 'basic']);
  });

  it('QuickBooks names the company in the callback', () => {
    const quickbooks = oauthOf('quickbooks');
    expect(quickbooks.keptCallbackParameters).toEqual(['realmId']);
    expect(quickbooks.identity).toEqual({ from: 'callback', accountId: ['/realmId'] });
    expect(quickbooks).toMatchObject({
      clientAuthentication: 'client_secret_basic',
      answer: { refreshExpiresIn: '/x_refresh_token_expires_in' },
    });
  });

  it('Notion takes JSON, Basic and its version', () => {
    expect(oauthOf('notion')).toMatchObject({
      bodyFormat: 'json',
      clientAuthentication: 'client_secret_basic',
      tokenHeaders: { 'Notion-Version': expect.stringMatching(/^\d{4}-\d\d-\d\d$/) },
      authorizationParameters: { owner: 'user' },
    });
  });

  it('HubSpot is not asked at the endpoints that end', () => {
    for (const url of urlsOf(entry('hubspot'))) expect(url).not.toContain('/oauth/v1/');
    expect(oauthOf('hubspot').tokenUrl).toBe('https://api.hubapi.com/oauth/2026-03/token');
  });

  it('Microsoft revokes nothing, least of all every session', () => {
    expect(oauthOf('microsoft').revocation).toBeUndefined();
    expect(JSON.stringify(entry('microsoft'))).not.toContain('revokeSignInSessions');
    expect(oauthOf('microsoft').errors?.permanent).toContain('interaction_required');
    expect(oauthOf('microsoft').scopes).toMatchObject({ always: ['offline_access'], neverGranted: ['offline_access'] });
    expect(oauthOf('microsoft').rotation?.class).toBe('soft');
  });

  it('Salesforce says where its API is, and by introspection how long a token lives', () => {
    const salesforce = oauthOf('salesforce');
    expect(salesforce.answer).toMatchObject({ baseUrlFrom: 'instance_url', kept: { instance_url: '/instance_url' } });
    const url = (domain: string) => fillIn(salesforce.tokenUrl, parametersOf(entry('salesforce'), { domain }, 's'));
    expect(url('acme--dev.sandbox.my')).toBe('https://acme--dev.sandbox.my.salesforce.com/services/oauth2/token');
    for (const domain of ['evil', 'evil.com', '.my', 'login.evil']) expect(() => url(domain), domain).toThrow();
    expect(salesforce.lifetimes?.introspectionUrl).toContain('/introspect');
  });

  it('Stripe names the account in the token answer', () => {
    for (const name of ['stripe', 'stripe-apps']) {
      expect(oauthOf(name).identity).toMatchObject({ from: 'token_answer', accountId: ['/stripe_user_id'] });
      expect(oauthOf(name).pkce).toBe('none');
    }
    expect(entry('stripe').keys?.[0]?.check?.outcomes).toMatchObject({ 403: 'restricted' });
  });
});

describe('The form of a key', () => {
  const hex = 'a'.repeat(36);
  const forms: [string, string, string[], string[]][] = [
    [
      'stripe',
      'token',
      ['sk_live_51Hx', 'sk_test_4eC39HqLyjWD', 'rk_live_51Hx', 'rk_test_a'],
      ['pk_live_51Hx', 'whsec_1'],
    ],
    ['anthropic', 'key', ['sk-ant-api03-a_b-C1', 'sk-ant-admin01-x'], ['sk-proj-abc', 'sk-ant-']],
    ['openai', 'token', ['sk-abc', 'sk-proj-a_b-C', 'sk-svcacct-x'], ['sk_live_1', 'sess-1', 'sk-']],
    ['github', 'token', [`ghp_${hex}`, `github_pat_11A_${hex}`, '0123456789'.repeat(4)], ['ghp_short', `gho_${hex}`]],
    ['slack', 'token', ['xoxb-1234-5678-abcDEF'], ['xoxz-1234-5678-abc', 'xoxb 1']],
    ['notion', 'token', ['ntn_1234567890ab', 'secret_abcDEF123'], ['Bearer ntn_1', 'ntn-1']],
  ];

  it.each(forms)('of %s is known', (name, field, good, bad) => {
    const key = entry(name).keys?.[0] as KeyDefinition;
    for (const secret of good) expect(faultsOf(() => checkKey(key, { [field]: secret }, 'credential'))).toEqual({});
    for (const secret of [...bad, ...good.map((one) => `${one}\n`), ...good.map((one) => ` ${one}`), '']) {
      const faults = faultsOf(() => checkKey(key, { [field]: secret }, 'credential'));
      expect(Object.keys(faults), secret).toEqual([`credential.${field}`]);
      if (secret) expect(JSON.stringify(faults)).not.toContain(secret.trim());
    }
  });

  it('is not asked of a secret that is not there, and of AWS not at all', () => {
    const key = entry('stripe').keys?.[0] as KeyDefinition;
    expect(faultsOf(() => checkKey(key, {}, 'credential'))).toEqual({});
    expect(faultsOf(() => checkKey(key, { other: 'x' }, 'credential'))).toEqual({});
    expect(entry('aws-s3').keys).toEqual([{ kind: 'aws', displayName: 'Access key' }]);
  });

  it('costs linear time', () => {
    const key: KeyDefinition = { kind: 'bearer', displayName: 'x', patterns: { token: '(a*)*b' } };
    const start = performance.now();
    expect(Object.keys(faultsOf(() => checkKey(key, { token: 'a'.repeat(5000) }, 'c')))).toEqual(['c.token']);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe('Kinds of connection', () => {
  it('come from OAuth and keys, each once', () => {
    expect(kindsOf(entry('http'))).toEqual(['api_key', 'bearer', 'basic']);
    expect(kindsOf(entry('github'))).toEqual(['oauth2', 'bearer']);
    expect(kindsOf(entry('smtp'))).toEqual(['smtp']);
    const device = { tokenUrl: 'https://x.example/t', deviceAuthorizationUrl: 'https://x.example/d' };
    expect(kindsOf({ name: 'x', displayName: 'X', oauth: { ...device, clientCredentials: true } })).toEqual([
      'oauth2',
      'client_credentials',
    ]);
    expect(kindsOf({ name: 'x', displayName: 'X' })).toEqual([]);
  });
});

describe('A provider is at risk', () => {
  const rotating = (rotation: OAuthDefinition['rotation']): ProviderDefinition => ({
    name: 'x',
    displayName: 'X',
    oauth: { tokenUrl: 'https://x.example/t', rotation },
  });

  it('where it rotates strictly and forgets the old token too soon', () => {
    expect(ONE_CRASH_BOUND_S).toBe(18 + 2 + 7);
    expect(isAtRisk(rotating({ class: 'strict' }), 27)).toBe(true);
    expect(isAtRisk(rotating({ class: 'strict', reuseGraceS: 26 }), 27)).toBe(true);
    expect(isAtRisk(rotating({ class: 'strict', reuseGraceS: 27 }), 27)).toBe(false);
    expect(isAtRisk(rotating({ class: 'strict', reuseGraceS: 27 }), 47)).toBe(true);
    for (const mild of ['soft', 'none', undefined] as const)
      expect(isAtRisk(rotating({ class: mild }), 27)).toBe(false);
    expect(isAtRisk(entry('openai'), 27)).toBe(false);
  });
});

describe('A template', () => {
  const url = 'https://login.example/{tenant}/token';

  it('is filled in', () => {
    expect(fillIn(url, { tenant: 'acme.com' })).toBe('https://login.example/acme.com/token');
    expect(fillIn('https://{a}.{b}/{a}', { a: '1', b: 'x' })).toBe('https://1.x/1');
    expect(fillIn('https://plain.example', {})).toBe('https://plain.example');
  });

  it('names what is missing, and takes nothing inherited', () => {
    expect(() => fillIn(url, {})).toThrow('{tenant}');
    const inherited = Object.create({ tenant: 'inherited' }) as Record<string, string>;
    expect(() => fillIn(url, inherited)).toThrow('{tenant} has no value');
    for (const name of ['constructor', '__proto__']) {
      expect(() => fillIn(`https://x/{${name}}`, {})).toThrow(`{${name}} has no value`);
    }
  });

  it('does not fill in what a value holds', () => {
    expect(fillIn('https://x/{a}/{b}', { a: '{b}', b: 'c' })).toBe('https://x/{b}/c');
    expect(fillIn('https://x/{a}', { a: '$$' })).toBe('https://x/$$');
  });

  it.each([
    'evil.com/',
    'a@b',
    '..',
    '.',
    '',
    'a\nb',
    'a b',
    'a\tb',
    'a?b',
    'a#b',
    'a\\b',
    'a:b',
    '%2e%2e',
    '%2f',
    'a&b',
    'a\u0000',
    'a\u007f',
    'a\u00a0',
    'a\u2028',
    'evil.com\uff0f',
  ])('refuses %j, without saying it', (tenant) => {
    expect(isUrlPart(tenant)).toBe(false);
    expect(() => fillIn(url, { tenant })).toThrow('{tenant} has a value that cannot stand in a URL');
  });

  it('takes a URL at its start, and only a URL', () => {
    const start = '{instance_url}/services';
    expect(fillIn(start, { instance_url: 'https://acme.my.salesforce.com' })).toBe(
      'https://acme.my.salesforce.com/services',
    );
    expect(fillIn(start, { instance_url: 'http://127.0.0.1:8080/base/' })).toBe('http://127.0.0.1:8080/base/services');
    const wrong = [
      'acme',
      'ftp://x',
      'javascript:x',
      'https://',
      'https://a@b',
      'https://a?b',
      'https://a#b',
      'https://a\\b',
      'https://a b',
      ' https://a',
      'https://a\n',
    ];
    for (const value of wrong) expect(() => fillIn(start, { instance_url: value }), value).toThrow('{instance_url}');
    expect(() => fillIn('https://x/{instance_url}', { instance_url: 'https://a' })).toThrow('{instance_url}');
  });
});

describe('Parameters', () => {
  const microsoft = entry('microsoft');

  it('have defaults', () => {
    expect(parametersOf(microsoft, {}, 'settings')).toEqual({ tenant: 'common' });
    expect(parametersOf(microsoft, { tenant: '' }, 'settings')).toEqual({ tenant: 'common' });
    expect(parametersOf(microsoft, { tenant: 'acme.onmicrosoft.com' }, 'settings')).toEqual({
      tenant: 'acme.onmicrosoft.com',
    });
    expect(parametersOf(entry('http'), {}, 'settings')).toEqual({});
  });

  it.each(['evil.com/', 'a@b', '..', 'a\nb', 'common\n', 'a b', '%2e%2e', 'a*b', 'ä'])('refuse %j', (tenant) => {
    expect(Object.keys(faultsOf(() => parametersOf(microsoft, { tenant }, 'settings')))).toEqual([
      'settings["tenant"]',
    ]);
  });

  it('must be one of the choices', () => {
    const region = (region_host: string) => parametersOf(entry('clio'), { region_host }, 'settings');
    expect(region('eu.app.clio.com')).toEqual({ region_host: 'eu.app.clio.com' });
    for (const host of ['evil.com', 'app.clio.com.evil.com', 'APP.clio.com']) {
      const faults = faultsOf(() => region(host));
      expect(faults['settings["region_host"]']).toContain('ca.app.clio.com');
    }
  });

  it('must be known', () => {
    for (const name of ['region', 'constructor', 'a"b']) {
      const faults = faultsOf(() => parametersOf(microsoft, { [name]: 'x' }, 'settings'));
      expect(Object.keys(faults)).toEqual([`settings[${JSON.stringify(name)}]`]);
    }
    const inherited = Object.create({ tenant: 'inherited' }) as Record<string, string>;
    expect(parametersOf(microsoft, inherited, 's')).toEqual({ tenant: 'common' });
  });

  it('are needed by the kinds that use them', () => {
    const jira = entry('jira');
    expect(parametersOf(jira, {}, 's', 'oauth2')).toEqual({});
    expect(faultsOf(() => parametersOf(jira, {}, 's', 'basic'))).toEqual({ 's["site"]': 'is needed' });
    expect(faultsOf(() => parametersOf(jira, {}, 's'))).toEqual({ 's["site"]': 'is needed' });
    expect(parametersOf(jira, { site: 'acme' }, 's', 'oauth2')).toEqual({ site: 'acme' });
    expect(Object.keys(faultsOf(() => parametersOf(jira, { site: 'evil.com' }, 's', 'basic')))).toEqual(['s["site"]']);
    const account_sid = `AC${'0'.repeat(32)}`;
    expect(parametersOf(entry('twilio'), {}, 's', 'client_credentials')).toEqual({});
    expect(parametersOf(entry('twilio'), { account_sid }, 's', 'basic')).toEqual({ account_sid });
    expect(
      Object.keys(faultsOf(() => parametersOf(entry('twilio'), { account_sid: 'AC1' }, 's', 'basic'))),
    ).toHaveLength(1);
  });
});

describe('A JSON pointer', () => {
  const document = { foo: ['bar', 'baz'], '': 0, 'a/b': 1, 'm~n': 8, '~1': 2, deep: { er: { value: null } } };

  it('finds what RFC 6901 says', () => {
    expect(pointer(document, '')).toBe(document);
    expect(pointer(document, '/foo')).toEqual(['bar', 'baz']);
    expect(pointer(document, '/foo/1')).toBe('baz');
    expect(pointer(document, '/')).toBe(0);
    expect(pointer(document, '/a~1b')).toBe(1);
    expect(pointer(document, '/m~0n')).toBe(8);
    expect(pointer(document, '/~01')).toBe(2);
    expect(pointer(document, '/deep/er/value')).toBeNull();
    expect(pointer([{ id: 7 }], '/0/id')).toBe(7);
  });

  it('finds nothing elsewhere', () => {
    const nowhere = [
      '/x',
      '/foo/2',
      '/foo/-',
      '/foo/01',
      '/foo/length',
      '/foo/0/length',
      '/deep/er/value/x',
      '/constructor',
    ];
    for (const place of [...nowhere, '/__proto__', '/toString', '/foo/map'])
      expect(pointer(document, place), place).toBeUndefined();
    for (const value of [undefined, null, 'text', 5]) expect(pointer(value, '/length')).toBeUndefined();
    expect(pointer(JSON.parse('{"__proto__": {"a": 1}}'), '/__proto__/a')).toBe(1);
  });

  it('is refused where it is none', () => {
    for (const wrong of ['foo', '/~', '/a~2', '~0']) expect(() => pointer(document, wrong), wrong).toThrow();
  });
});

describe('A definition is refused', () => {
  const oauth: OAuthDefinition = { authorizationUrl: 'https://x.example/a', tokenUrl: 'https://x.example/t' };
  const base: ProviderDefinition = { name: 'x', displayName: 'X', oauth };
  const faultyFields = (change: Partial<ProviderDefinition>) =>
    Object.keys(faultsOf(() => checkDefinition({ ...base, ...change }, 'definition')));
  const faultyOAuth = (change: Partial<OAuthDefinition>) => faultyFields({ oauth: { ...oauth, ...change } });
  const faultyKey = (change: Partial<KeyDefinition>) =>
    faultyFields({ keys: [{ kind: 'bearer', displayName: 'Key', ...change }] });

  it('never where nothing is wrong', () => {
    expect(faultyFields({})).toEqual([]);
    expect(faultyKey({})).toEqual([]);
    expect(faultyFields({ oauth: undefined, keys: [{ kind: 'basic', displayName: 'x' }] })).toEqual([]);
  });

  it('with nothing to connect by, or no day', () => {
    expect(faultyFields({ oauth: undefined })).toEqual(['definition.oauth']);
    expect(Object.keys(faultsOf(() => checkDefinition({ name: 'x', displayName: 'X' }, '')))).toEqual(['oauth']);
    expect(faultyOAuth({ authorizationUrl: undefined })).toEqual(['definition.oauth.authorization_url']);
    expect(faultyOAuth({ authorizationUrl: undefined, clientCredentials: true })).toEqual([]);
    for (const verifiedAt of ['2026-02-30', '2026-13-01', '0000-00-00']) {
      expect(faultyFields({ verifiedAt })).toEqual(['definition.verified_at']);
    }
    expect(faultyFields({ verifiedAt: '2024-02-29' })).toEqual([]);
  });

  it('for a URL that is none, or holds what nothing fills in', () => {
    const wrong = [
      'https://{region}.example/t',
      'https://x.example/{',
      'https://x.example/}',
      'https://x.example/{a b}',
      'https://x.example/t#f',
      'https://x\\y/t',
      'https://u:p@x.example/',
      'https://',
      'https://x:99999/',
      'ftp://x.example/',
    ];
    for (const url of wrong) {
      expect(faultyOAuth({ tokenUrl: url }), url).toContain('definition.oauth.token_url');
      expect(faultyFields({ apiBaseUrl: url }), url).toContain('definition.api_base_url');
      expect(faultyOAuth({ pushedAuthorizationRequestUrl: url }), url).toContain(
        'definition.oauth.pushed_authorization_request_url',
      );
      expect(faultyOAuth({ lifetimes: { introspectionUrl: url } })).toContain(
        'definition.oauth.lifetimes.introspection_url',
      );
      expect(faultyKey({ check: { url } })).toContain('definition.keys[0].check.url');
    }
    const tokenUrl = 'https://{region}.example:{port}/{region}/t';
    const parameters = [{ name: 'region' }, { name: 'port' }];
    expect(faultyFields({ parameters, oauth: { ...oauth, tokenUrl: 'https://{region}.example/{region}/t' } })).toEqual(
      [],
    );
    expect(faultyFields({ parameters: [{ name: 'port' }], oauth: { ...oauth, tokenUrl } })).toEqual([
      'definition.oauth.token_url',
    ]);
  });

  it('for a check that asks for what its kind has not', () => {
    const url = 'https://x.example/{username}';
    expect(faultyKey({ kind: 'basic', check: { url } })).toEqual([]);
    expect(faultyKey({ check: { url } })).toEqual(['definition.keys[0].check.url']);
    expect(faultyKey({ kind: 'basic', check: { url: 'https://x.example/{password}' } })).toHaveLength(1);
    expect(faultyKey({ patterns: { password: 'x' } })).toEqual(['definition.keys[0].patterns["password"]']);
    expect(faultyKey({ location: 'query' })).toEqual(['definition.keys[0].location']);
    expect(faultyKey({ check: { url: 'https://x.example', failurePointer: '/ok' } })).toEqual([
      'definition.keys[0].check.failure_when',
    ]);
  });

  it('for a pattern that is not RE2, or that its own values break', () => {
    for (const pattern of ['(', '(?=a)', '(a)\\1', 'a{1001}']) {
      expect(faultyFields({ parameters: [{ name: 'a', pattern }] }), pattern).toEqual([
        'definition.parameters[0].pattern',
      ]);
      expect(faultyKey({ patterns: { token: pattern } })).toEqual(['definition.keys[0].patterns["token"]']);
    }
    expect(faultyFields({ parameters: [{ name: 'a', defaultValue: 'a/b' }] })).toEqual([
      'definition.parameters[0].default_value',
    ]);
    expect(faultyFields({ parameters: [{ name: 'a', choices: ['a'], defaultValue: 'b' }] })).toHaveLength(1);
    expect(faultyFields({ parameters: [{ name: 'a', choices: ['a', 'b'], pattern: 'a' }] })).toEqual([
      'definition.parameters[0].choices[1]',
    ]);
    expect(faultyFields({ parameters: [{ name: 'a', pattern: '.*', choices: ['ok', 'x@y'] }] })).toHaveLength(1);
    expect(faultyFields({ parameters: [{ name: 'a' }, { name: 'a' }] })).toEqual(['definition.parameters[1].name']);
    expect(faultyFields({ parameters: [{ name: 'client_id' }] })).toEqual(['definition.parameters[0].name']);
  });

  it('for headers and parameters that are not its own', () => {
    for (const name of ['Authorization', 'content-type', 'HOST', 'Cookie', 'Content-Length', 'Transfer-Encoding']) {
      expect(faultyOAuth({ tokenHeaders: { [name]: 'x' } })).toEqual([`definition.oauth.token_headers["${name}"]`]);
      expect(faultyKey({ headers: { [name]: 'x' } })).toEqual([`definition.keys[0].headers["${name}"]`]);
    }
    expect(faultyOAuth({ tokenHeaders: { Accept: 'a', accept: 'b' } })).toHaveLength(1);
    for (const name of ['state', 'redirect_uri', 'code_challenge', 'client_id', 'response_type', 'scope']) {
      expect(faultyOAuth({ authorizationParameters: { [name]: 'x' } })).toHaveLength(1);
    }
    expect(
      faultyOAuth({ scopes: { parameter: 'user_scope' }, authorizationParameters: { user_scope: 'x' } }),
    ).toHaveLength(1);
  });

  it('for an identity that cannot be found out', () => {
    const url = 'https://x.example/me';
    const faulty = (identity: OAuthDefinition['identity'], more: Partial<OAuthDefinition> = {}) =>
      faultyOAuth({ identity, ...more }).map((field) => field.replace('definition.oauth.identity.', ''));
    expect(faulty({ accountId: ['/id'] })).toEqual(['from']);
    expect(faulty({ accountId: ['/id'], url })).toEqual([]);
    expect(faulty({ accountId: ['/id'], url, from: 'token_answer' })).toEqual(['url']);
    expect(faulty({ accountId: ['/id'], from: 'request' })).toEqual(['url']);
    expect(faulty({ accountId: ['/sub'], from: 'id_token' })).toEqual(['from']);
    expect(faulty({ accountId: ['/realmId'], from: 'callback' })).toEqual(['account_id']);
    expect(faulty({ accountId: ['/realmId'], from: 'callback' }, { keptCallbackParameters: ['realmId'] })).toEqual([]);
    expect(faulty({ accountId: ['/a~b'], url })).toEqual(['account_id']);
    expect(faulty({ accountId: ['/id'], url, emailVerified: '/v' })).toEqual(['email_verified']);
    expect(faulty({ accountId: ['/id'], url: '{instance_url}/me' })).toEqual(['url']);
    const answer = { kept: { instance_url: '/instance_url' } };
    expect(faulty({ accountId: ['/id'], url: '{instance_url}/me' }, { answer })).toEqual([]);
  });

  it('where the callback would say to whom a token is sent', () => {
    const keptCallbackParameters = ['location'];
    const faulty = (url: string) => faultyOAuth({ keptCallbackParameters, identity: { accountId: ['/id'], url } });
    expect(faulty('https://x.example/{location}/me')).toEqual([]);
    for (const url of [
      '{location}/me',
      'https://{location}/me',
      'https://{location}.x.example',
      'https://x.example:{location}',
    ]) {
      expect(faulty(url), url).toEqual(['definition.oauth.identity.url']);
      if (!url.startsWith('{'))
        expect(faultyOAuth({ keptCallbackParameters, revocation: { url } }), url).toHaveLength(1);
    }
    expect(faultyOAuth({ keptCallbackParameters, answer: { baseUrlFrom: 'location' } })).toEqual([
      'definition.oauth.answer.base_url_from',
    ]);
  });

  it('for keeping a token, or a base URL that is not kept', () => {
    const subCredentials = [{ name: 'user', accessToken: '/authed_user/access_token' }];
    for (const place of ['/access_token', '/refresh_token', '/id_token', '/id_token/x', '/authed_user']) {
      const faults = faultyOAuth({ subCredentials, answer: { kept: { a: place } } });
      expect(faults, place).toEqual(['definition.oauth.answer.kept["a"]']);
    }
    expect(faultyOAuth({ subCredentials, answer: { kept: { a: '/authed_user/id' } } })).toEqual([]);
    expect(faultyOAuth({ answer: { accessToken: '/data/token', kept: { a: '/data' } } })).toHaveLength(1);
    for (const baseUrlFrom of ['x', 'constructor']) expect(faultyOAuth({ answer: { baseUrlFrom } })).toHaveLength(1);
  });

  it('for parts that are of no use alone', () => {
    expect(faultyOAuth({ sendsIss: true })).toEqual(['definition.oauth.sends_iss']);
    expect(faultyOAuth({ jwksUrl: 'https://x.example/k' })).toEqual(['definition.oauth.jwks_url']);
    expect(faultyOAuth({ errors: { failurePointer: '/ok' } })).toEqual(['definition.oauth.errors.failure_when']);
    expect(faultyOAuth({ errors: { failureWhen: 'false' } })).toEqual(['definition.oauth.errors.failure_when']);
    const revocation = { url: 'https://x.example/r', parameters: { account: '{account}' } };
    expect(faultyOAuth({ revocation })).toEqual(['definition.oauth.revocation.parameters["account"]']);
    expect(faultyOAuth({ revocation, answer: { kept: { account: '/account' } } })).toEqual([]);
    const twice = [
      { name: 'user', accessToken: '/a' },
      { name: 'user', accessToken: '/b' },
    ];
    expect(faultyOAuth({ subCredentials: twice })).toEqual(['definition.oauth.sub_credentials']);
  });

  it('with all that is wrong at once', () => {
    const faults = faultyFields({
      verifiedAt: '2026-02-30',
      apiBaseUrl: 'https://{x}',
      oauth: { tokenUrl: 'https://{y}' },
    });
    expect(faults.sort()).toEqual([
      'definition.api_base_url',
      'definition.oauth.authorization_url',
      'definition.oauth.token_url',
      'definition.verified_at',
    ]);
  });
});
