import { createHmac } from 'node:crypto';
import { pointer } from '../../base/json-pointer.ts';
import { storableText } from '../../base/storable-text.ts';
import { sameHash } from '../../crypto/constant-time.ts';
import { sha256 } from '../../crypto/keyring.ts';
import type { SignatureDescription } from '../../model/inbound-endpoint.ts';
import type { InboundRules } from '../call.ts';

/** A message as it arrived. */
export type Arrived = {
  /** By name in lower case, each time that it was sent. */
  headers: ReadonlyMap<string, readonly string[]>;
  body: Buffer;
};

/** What a message turned out to be. */
export type Verdict =
  /** `repeatKey` is the same for each repeat of it; null: nothing tells a repeat from a new message. */
  { good: true; senderId: string; repeatKey: Buffer | null } | { good: false; cause: RefusalCause };
export type RefusalCause = 'header_missing' | 'header_repeated' | 'header_malformed' | 'stale' | 'signature_wrong';

/** Signatures in one header; a sender has one for each of its secrets. */
const MOST_SIGNATURES = 10;
const LONGEST_ID = 255;

/** A refusal on the way to a verdict. */
class Refusal extends Error {
  readonly reason: RefusalCause;

  constructor(reason: RefusalCause) {
    super(reason);
    this.reason = reason;
  }
}

/**
 * Whether one of the secrets signed a message, by the rules of its scheme. The time that it takes tells nothing about where a wrong signature or token differs.
 * @param now ms since the epoch
 */
export function verifyMessage(rules: InboundRules, secrets: readonly string[], arrived: Arrived, now: number): Verdict {
  try {
    const id = rules.idHeader ? single(arrived, rules.idHeader) : null;
    const { signature, token } = rules;
    if (token) checkToken(token, secrets, arrived);
    const mac = signature ? checkSignature(signature, secrets, arrived, id, now) : null;
    return { good: true, ...identify(rules, arrived.body, id, mac) };
  } catch (error) {
    if (error instanceof Refusal) return { good: false, cause: error.reason };
    throw error;
  }
}

/** The one value of a header; null where it is missing or empty. */
function single({ headers }: Arrived, name: string): string | null {
  const values = headers.get(name) ?? [];
  if (values.length > 1) throw new Refusal('header_repeated');
  return values[0] || null;
}

function required(value: string | null): string {
  if (value === null) throw new Refusal('header_missing');
  return value;
}

function checkToken(token: NonNullable<InboundRules['token']>, secrets: readonly string[], arrived: Arrived): void {
  const presented = sha256(required(single(arrived, token.header)));
  const matches = secrets.filter((secret) => sameHash(presented, sha256(token.prefix + secret)));
  if (matches.length === 0) throw new Refusal('signature_wrong');
}

/** Answers the HMAC that the message was signed with. */
function checkSignature(
  scheme: SignatureDescription,
  secrets: readonly string[],
  arrived: Arrived,
  id: string | null,
  now: number,
): Buffer {
  const header = required(single(arrived, scheme.signatureHeader));
  const elements = scheme.separator ? header.split(scheme.separator).map((element) => element.trim()) : [header];
  const timestamp = timestampOf(scheme, arrived, elements);
  if (timestamp !== null && !(Math.abs(now - timeOf(scheme, timestamp)) <= scheme.toleranceS * 1000))
    throw new Refusal('stale');
  const presented = elements
    .filter((element) => element.startsWith(scheme.prefix))
    .map((element) => Buffer.from(element.slice(scheme.prefix.length), scheme.encoding));
  if (presented.length === 0) throw new Refusal('header_malformed');
  if (presented.length > MOST_SIGNATURES) throw new Refusal('header_repeated');
  const expected = secrets.map((secret) => hmac(scheme, keyOf(scheme, secret), { id, timestamp, body: arrived.body }));
  const match = expected.filter((mac) => presented.filter((candidate) => sameHash(mac, candidate)).length > 0)[0];
  if (!match) throw new Refusal('signature_wrong');
  return match;
}

/** Null: the scheme has none. */
function timestampOf(scheme: SignatureDescription, arrived: Arrived, elements: readonly string[]): string | null {
  const { timestampHeader, timestampPrefix } = scheme;
  if (timestampHeader) return required(single(arrived, timestampHeader));
  if (!timestampPrefix) return null;
  const found = elements.filter((element) => element.startsWith(timestampPrefix));
  if (found.length > 1) throw new Refusal('header_repeated');
  return required(found[0]?.slice(timestampPrefix.length) ?? null);
}

/** ms since the epoch. */
function timeOf({ timestampFormat }: SignatureDescription, text: string): number {
  const wellFormed = timestampFormat === 'rfc3339' ? /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d/ : /^\d{1,15}$/;
  if (!wellFormed.test(text)) throw new Refusal('header_malformed');
  const ms =
    timestampFormat === 'rfc3339' ? Date.parse(text) : Number(text) * (timestampFormat === 'unix_s' ? 1000 : 1);
  if (Number.isNaN(ms)) throw new Refusal('header_malformed');
  return ms;
}

/** The key that a signing secret says. */
export function keyOf({ keyEncoding }: Pick<SignatureDescription, 'keyEncoding'>, secret: string): Buffer {
  if (keyEncoding === 'raw') return Buffer.from(secret);
  return Buffer.from(keyEncoding === 'whsec' ? secret.replace(/^whsec_/, '') : secret, 'base64');
}

type Signed = { id: string | null; timestamp: string | null; body: Buffer };

function hmac(
  { algorithm, signedContent }: SignatureDescription,
  key: Buffer,
  { id, timestamp, body }: Signed,
): Buffer {
  const mac = createHmac(algorithm, key);
  for (const part of signedContent.split(/(\{(?:id|timestamp|body)\})/)) {
    if (part === '{body}') mac.update(body);
    else if (part === '{id}') mac.update(required(id));
    else if (part === '{timestamp}') mac.update(required(timestamp));
    else mac.update(part);
  }
  return mac.digest();
}

/** The sender's id of a message, and what tells a repeat of it: that id, else body and HMAC. */
function identify({ idPointer }: InboundRules, body: Buffer, idInHeader: string | null, mac: Buffer | null) {
  const senderId = idInHeader ?? (idPointer ? idIn(body, idPointer) : '');
  if (senderId) return { senderId: storableText(senderId, LONGEST_ID), repeatKey: sha256(`id ${senderId}`) };
  // The HMAC is ours, not the text in the header, which can be spelled in several ways.
  return { senderId, repeatKey: mac && sha256(Buffer.concat([Buffer.from('content '), sha256(body), mac])) };
}

function idIn(body: Buffer, idPointer: string): string {
  try {
    const found = pointer(JSON.parse(body.toString()), idPointer);
    return typeof found === 'string' || typeof found === 'number' ? String(found) : '';
  } catch {
    return '';
  }
}
