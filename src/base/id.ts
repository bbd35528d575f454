import { randomFillSync } from 'node:crypto';

/** Crockford's base32 in lower case. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const RANDOM_BYTES = 10;

export type IdPrefix =
  | 'conn'
  | 'sec'
  | 'user'
  | 'key'
  | 'aud'
  | 'evt'
  | 'rep'
  | 'inst'
  | 'intg'
  | 'csec'
  | 'auth'
  | 'rvk'
  | 'att'
  | 'acct'
  | 'dlv'
  | 'iep'
  | 'imsg'
  | 'eep'
  | 'cntr';

const pool = Buffer.allocUnsafe(RANDOM_BYTES * 512);
let used = pool.length;

/**
 * A new id: the prefix, `_` and 26 characters: 10 for 48 bits of time in ms, so that ids sort by time, and 16 for 80 random bits (as ULID does).
 */
export function newId(prefix: IdPrefix, now: number = Date.now()): string {
  return `${prefix}_${timePart(now)}${randomPart()}`;
}

/** The least id that `newId` can make at this time: ids from it on are of this time or later. */
export function leastId(prefix: IdPrefix, ms: number): string {
  return `${prefix}_${timeText(ms)}${ALPHABET[0]!.repeat(16)}`;
}

/** Digits of an id for the first 40 bits of a digest. */
export function idDigits(digest: Buffer): string {
  let text = '';
  for (let rest = digest.readUIntBE(0, 5), i = 0; i < 8; i++) {
    text = ALPHABET[rest % 32] + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

let timed = { ms: -1, text: '' };

/** Most ids of a busy process share their time with the one before. */
function timePart(ms: number): string {
  if (timed.ms !== ms) timed = { ms, text: timeText(ms) };
  return timed.text;
}

function timeText(ms: number): string {
  let text = '';
  for (let rest = ms, i = 0; i < 10; i++) {
    text = ALPHABET[rest % 32] + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

function randomPart(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  let text = '';
  for (let group = 0; group < 2; group++) {
    const high = pool.readUInt32LE(used);
    const low = pool.readUInt8(used + 4);
    used += 5;
    for (let shift = 0; shift < 30; shift += 5) text += ALPHABET[(high >>> shift) & 31];
    text += ALPHABET[((high >>> 30) | (low << 2)) & 31];
    text += ALPHABET[(low >>> 3) & 31];
  }
  return text;
}
