import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { SecretText } from '../../src/base/secret-text.ts';
import { checkKeptHeaders, checkSecrets, checkVerification } from '../../src/domain/inbound/check-scheme.ts';
import { packContent, unpackContent } from '../../src/domain/inbound/content.ts';
import { rulesOf, schemeOfProvider } from '../../src/domain/inbound/scheme.ts';
import { verifyMessage } from '../../src/domain/inbound/verify-message.ts';
import type { InboundScheme, InboundVerification, SignatureDescription } from '../../src/model/inbound-endpoint.ts';

const NOW = 1_492_774_577_000;
const BODY = '{"id":"evt_1NG8Du2eZvKYlo2CUI79vXWy","object":"event"}';

const given = (scheme: InboundScheme, other: Partial<InboundVerification> = {}): InboundVerification => ({
  ...{ scheme, signature: null, tokenHeader: '', tokenPrefix: '', idHeader: '', idPointer: '' },
  ...other,
});

const CUSTOM: SignatureDescription = {
  ...{ signatureHeader: 'X-Sig', timestampHeader: 'X-When', signedContent: '{id}|{timestamp}|{body}' },
  ...{ algorithm: 'sha512', encoding: 'base64', prefix: '', separator: '', timestampPrefix: '' },
  ...{ timestampFormat: 'rfc3339', keyEncoding: 'base64', toleranceS: 60 },
};

type Headers = Record<string, string | string[]>;

function verify(
  verification: InboundVerification,
  secrets: string[],
  { headers, body = BODY, now = NOW }: { headers: Headers; body?: string; now?: number },
) {
  const pairs = Object.entries(headers).map(([name, value]) => [name, [value].flat()] as const);
  return verifyMessage(rulesOf(verification), secrets, { headers: new Map(pairs), body: Buffer.from(body) }, now);
}

const GOOD = expect.objectContaining({ good: true });
const bad = (cause: string) => ({ good: false, cause });

describe('GITHUB_SHA256', () => {
  const secrets = ["It's a Secret to Everybody"];
  const headers = {
    'x-hub-signature-256': 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17',
    'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
  };

  it('takes the example of its documentation', () => {
    const verdict = verify(given('GITHUB_SHA256'), secrets, { headers, body: 'Hello, World!' });
    expect(verdict).toMatchObject({ good: true, senderId: '72d3162e-cc78-11e3-81ab-4c9367dc0958' });
  });

  it('refuses another body, another secret, no prefix, no header', () => {
    const scheme = given('GITHUB_SHA256');
    expect(verify(scheme, secrets, { headers, body: 'Hello, World?' })).toEqual(bad('signature_wrong'));
    expect(verify(scheme, ['another'], { headers, body: 'Hello, World!' })).toEqual(bad('signature_wrong'));
    const bare = { 'x-hub-signature-256': headers['x-hub-signature-256'].slice('sha256='.length) };
    expect(verify(scheme, secrets, { headers: bare, body: 'Hello, World!' })).toEqual(bad('header_malformed'));
    expect(verify(scheme, secrets, { headers: {}, body: 'Hello, World!' })).toEqual(bad('header_missing'));
  });
});

describe('SLACK_V0', () => {
  const body =
    'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c';
  const headers = {
    'x-slack-signature': 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
    'x-slack-request-timestamp': '1531420618',
  };
  const now = 1_531_420_618_000;
  const secrets = ['8f742231b10e8888abcd99yyyzzz85a5'];

  it('takes the example of its documentation, for five minutes before and after', () => {
    for (const at of [now, now + 300_000, now - 300_000])
      expect(verify(given('SLACK_V0'), secrets, { headers, body, now: at })).toEqual(GOOD);
    for (const at of [now + 300_001, now - 300_001])
      expect(verify(given('SLACK_V0'), secrets, { headers, body, now: at })).toEqual(bad('stale'));
  });

  it('refuses a timestamp that is another, missing, sent twice or no number', () => {
    const cases: [string | string[], string][] = [
      ['1531420619', 'signature_wrong'],
      ['', 'header_missing'],
      [['1531420618', '1531420618'], 'header_repeated'],
      ['1531420618.0', 'header_malformed'],
      ['-1531420618', 'header_malformed'],
      ['0x5b47d6ca', 'header_malformed'],
      ['9'.repeat(16), 'header_malformed'],
    ];
    for (const [timestamp, cause] of cases) {
      const changed = { ...headers, 'x-slack-request-timestamp': timestamp };
      expect(verify(given('SLACK_V0'), secrets, { headers: changed, body, now }), String(timestamp)).toEqual(
        bad(cause),
      );
    }
  });
});

describe('STRIPE', () => {
  const v1 = '5dc7d4f6c7b8ba2f'.padEnd(64, '0');
  const right = '1b6761630814748a32eb7d0bd3afbc14fe6479f458471ea39ddbdc88e2cda03c';
  const secrets = ['whsec_test_secret'];
  const header = (text: string) => ({ headers: { 'stripe-signature': text } });

  it('takes a signature among others, whatever their order, and finds the id in the body', () => {
    for (const text of [`t=1492774577,v1=${right}`, `v0=${v1},v1=${v1},v1=${right},t=1492774577`]) {
      expect(verify(given('STRIPE'), secrets, header(text))).toMatchObject({
        ...{ good: true, senderId: 'evt_1NG8Du2eZvKYlo2CUI79vXWy' },
      });
    }
  });

  it('takes the old or the new secret while one is being replaced', () => {
    for (const both of [
      [...secrets, 'another'],
      ['another', ...secrets],
    ])
      expect(verify(given('STRIPE'), both, header(`t=1492774577,v1=${right}`))).toEqual(GOOD);
  });

  it('refuses two timestamps, none, a test signature alone, and more signatures than anybody sends', () => {
    const refuse = (text: string) => verify(given('STRIPE'), secrets, header(text));
    expect(refuse(`t=1492774577,t=1492774578,v1=${right}`)).toEqual(bad('header_repeated'));
    expect(refuse(`v1=${right}`)).toEqual(bad('header_missing'));
    expect(refuse(`t=1492774577,v0=${right}`)).toEqual(bad('header_malformed'));
    expect(refuse(`t=1492774577${`,v1=${v1}`.repeat(10)},v1=${right}`)).toEqual(bad('header_repeated'));
    expect(refuse(`t=1492774577,v1=${right.slice(0, 62)}`)).toEqual(bad('signature_wrong'));
    expect(refuse(`t=1492774577,v1=${right}00`)).toEqual(bad('signature_wrong'));
    expect(refuse('t=1492774577,v1=')).toEqual(bad('signature_wrong'));
  });
});

describe('STANDARD_WEBHOOKS', () => {
  const secret = `whsec_${Buffer.from('a key of 24 bytes or more').toString('base64')}`;
  const sender = new Webhook(secret);
  const sent = (body: string, id = 'msg_1') => ({
    'webhook-id': id,
    'webhook-timestamp': '1492774577',
    'webhook-signature': sender.sign(id, new Date(NOW), body),
  });

  it('takes what the public library signs, for any body', () => {
    for (const body of [BODY, '', 'ünïcode ✓', '\0binary\xff'])
      expect(verify(given('STANDARD_WEBHOOKS'), [secret], { headers: sent(body), body }), body).toEqual(GOOD);
  });

  it('refuses another id, a missing id, an id sent twice and an altered body', () => {
    const scheme = given('STANDARD_WEBHOOKS');
    const refuse = (headers: Headers, body = BODY) => verify(scheme, [secret], { headers, body });
    expect(refuse({ ...sent(BODY), 'webhook-id': 'msg_2' })).toEqual(bad('signature_wrong'));
    expect(refuse({ ...sent(BODY), 'webhook-id': '' })).toEqual(bad('header_missing'));
    expect(refuse({ ...sent(BODY), 'webhook-id': ['msg_1', 'msg_1'] })).toEqual(bad('header_repeated'));
    expect(refuse(sent(BODY), `${BODY} `)).toEqual(bad('signature_wrong'));
  });

  it('tells repeats by the id, whatever the time of the attempt', () => {
    const key = (id: string, body = BODY) => {
      const verdict = verify(given('STANDARD_WEBHOOKS'), [secret], { headers: sent(body, id), body });
      return verdict.good ? verdict.repeatKey?.toString('hex') : '';
    };
    expect(key('msg_1')).toBe(key('msg_1', 'another body'));
    expect(key('msg_1')).not.toBe(key('msg_2'));
  });
});

describe('Other schemes', () => {
  it('HMAC_TIMESTAMP signs time and body; a repeat is the same content', () => {
    const mac = '13f13c92e06e09bbcf4e7822f5adffdbde2f2d4814a638773cf0a3b4fc18230b';
    const once = (signature: string) =>
      verify(given('HMAC_TIMESTAMP'), ['shared secret'], {
        headers: { 'x-signature': signature, 'x-timestamp': '1492774577' },
      });
    expect(once(mac)).toMatchObject({ good: true, senderId: '' });
    // Spelled otherwise it is the same signature, and so the same message.
    expect(once(mac.toUpperCase())).toEqual(once(mac));
  });

  it('TOKEN compares the whole text', () => {
    const scheme = given('TOKEN', { tokenHeader: 'Authorization', tokenPrefix: 'Bearer ' });
    const present = (authorization: string | string[]) => verify(scheme, ['the token'], { headers: { authorization } });
    expect(present('Bearer the token')).toEqual({ good: true, senderId: '', repeatKey: null });
    for (const wrong of ['the token', 'bearer the token', 'Bearer the toke', 'Bearer the token '])
      expect(present(wrong), wrong).toEqual(bad('signature_wrong'));
    expect(present(['Bearer the token', 'Bearer another'])).toEqual(bad('header_repeated'));
    expect(verify(given('TOKEN'), ['the token'], { headers: {} })).toEqual(bad('header_missing'));
  });

  it('NONE proves nothing, and tells repeats by an id alone', () => {
    expect(verify(given('NONE'), [], { headers: {} })).toEqual({ good: true, senderId: '', repeatKey: null });
    const withId = verify(given('NONE', { idPointer: '/id' }), [], { headers: {} });
    expect(withId).toMatchObject({ senderId: 'evt_1NG8Du2eZvKYlo2CUI79vXWy', repeatKey: expect.any(Buffer) });
  });

  it('CUSTOM is as it is described', () => {
    const custom = given('CUSTOM', { signature: CUSTOM, idHeader: 'X-Id' });
    const headers = {
      'x-sig': '9lWIwEY5tNw8qh0/SjrCYbBlW9jX/hLL2ZbSc87Zw/cwTkdfRwB+9b+S6zoBlFjQHg1SDvlN1gE/F+UYic0P0Q==',
      'x-when': '2026-11-20T12:00:00Z',
      'x-id': 'm1',
    };
    const now = 1_795_176_000_000;
    const secrets = ['AQIDBAUGBwg='];
    expect(() => checkVerification(custom)).not.toThrow();
    expect(verify(custom, secrets, { headers, now })).toMatchObject({ good: true, senderId: 'm1' });
    expect(verify(custom, secrets, { headers, now: now + 61_000 })).toEqual(bad('stale'));
    expect(verify(custom, secrets, { headers: { ...headers, 'x-when': 'yesterday' }, now })).toEqual(
      bad('header_malformed'),
    );
    const sha1: SignatureDescription = {
      ...{ ...CUSTOM, timestampHeader: '', signedContent: '{body}', algorithm: 'sha1', encoding: 'hex' },
      keyEncoding: 'raw',
    };
    const signed = { headers: { 'x-sig': '123e20e5e37d1de93e73f11b4de9c025b6258433' } };
    expect(verify(given('CUSTOM', { signature: sha1 }), ['shared secret'], signed)).toEqual(GOOD);
  });

  it('come with the provider', () => {
    expect(['slack', 'github-app', 'stripe', 'google', 'constructor'].map(schemeOfProvider)).toEqual([
      ...['SLACK_V0', 'GITHUB_SHA256', 'STRIPE', 'STANDARD_WEBHOOKS', 'STANDARD_WEBHOOKS'],
    ]);
  });
});

describe('A description of a scheme', () => {
  const field = (check: () => void) => {
    try {
      check();
    } catch (error) {
      return (error as { fields: { field: string }[] }).fields[0]?.field;
    }
    return null;
  };
  const checked = (change: Partial<SignatureDescription>, other: Partial<InboundVerification> = { idHeader: 'x-id' }) =>
    field(() => checkVerification(given('CUSTOM', { signature: { ...CUSTOM, ...change }, ...other })));

  it('is refused where it contradicts itself, or does not protect what it says it does', () => {
    expect(checked({})).toBeNull();
    expect(checked({ signatureHeader: '' })).toBe('verification.signature.signature_header');
    for (const signedContent of ['{id}|{timestamp}', '{body}{body}{timestamp}', '{body}', '{url}{timestamp}{body}'])
      expect(checked({ signedContent }), signedContent).toBe('verification.signature.signed_content');
    expect(checked({ timestampHeader: '', signedContent: '{timestamp}.{body}' })).toContain('signed_content');
    expect(checked({ timestampPrefix: 't=' })).toContain('timestamp_prefix');
    expect(checked({ timestampHeader: '', timestampPrefix: 't=' })).toContain('separator');
    expect(checked({}, {})).toBe('verification.id_header');
    expect(field(() => checkVerification(given('STRIPE', { signature: CUSTOM })))).toBe('verification.signature');
    expect(field(() => checkVerification(given('CUSTOM')))).toBe('verification.signature');
    expect(field(() => checkVerification(given('STRIPE', { tokenHeader: 'x' })))).toBe('verification.token_header');
  });

  it('takes secrets that fit it, and keeps no header with a credential', () => {
    const secrets = (scheme: InboundScheme, ...texts: string[]) =>
      field(() =>
        checkSecrets(
          given(scheme),
          texts.map((text) => new SecretText(text)),
        ),
      );
    expect(
      secrets('STANDARD_WEBHOOKS', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'),
    ).toBeNull();
    expect(secrets('STANDARD_WEBHOOKS', 'whsec_ not base64')).toBe('signing_secrets.secrets[0]');
    expect(secrets('STRIPE', 'whsec_any text!')).toBeNull();
    expect(secrets('GITHUB_SHA256')).toBe('signing_secrets');
    expect(secrets('NONE', 'some secret')).toBe('signing_secrets');
    const token = given('TOKEN', { tokenHeader: 'X-Key' });
    for (const name of ['authorization', 'cookie', 'x-key'])
      expect(field(() => checkKeptHeaders(token, ['x-event', name]))).toBe('keep_headers.names[1]');
  });
});

it('Content comes back byte for byte', () => {
  const body = Buffer.from([0, 255, 10, 13, 0]);
  expect(unpackContent(packContent({ headers: { 'x-a': 'ü' }, body }))).toEqual({ headers: { 'x-a': 'ü' }, body });
  expect(() => unpackContent(Buffer.from([0, 0]))).toThrow('not what was sealed');
  expect(() => unpackContent(Buffer.from([255, 255, 255, 255, 1]))).toThrow('not what was sealed');
});
