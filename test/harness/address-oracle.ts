import { isForbidden } from '../../src/egress/address.ts';

/** The list, as integers: start, bits of the prefix. Written apart from the code's own. */
const V4: [string, number][] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
  ['255.255.255.255', 32],
];
const V6: [bigint, number][] = [
  [0n, 96],
  [1n, 128],
  [0x0064_ff9bn << 96n, 96],
  [0x0064_ff9b_0001n << 80n, 48],
  [0x0100n << 112n, 64],
  [0x2001_0000n << 96n, 32],
  [0x2001_0db8n << 96n, 32],
  [0x2002n << 112n, 16],
  [0x3fffn << 112n, 20],
  [0x5f00n << 112n, 16],
  [0xfc00n << 112n, 7],
  [0xfe80n << 112n, 10],
  [0xfec0n << 112n, 10],
  [0xff00n << 112n, 8],
];

type Range = { first: bigint; last: bigint };
const rangeOf = (start: bigint, bits: number, width: number): Range => ({
  first: start,
  last: start + (1n << BigInt(width - bits)) - 1n,
});
const numberOf = (dotted: string) => dotted.split('.').reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
export const v4Ranges = V4.map(([start, bits]) => rangeOf(numberOf(start), bits, 32));
export const v6Ranges = V6.map(([start, bits]) => rangeOf(start, bits, 128));
const within = (ranges: Range[], value: bigint) => ranges.some(({ first, last }) => value >= first && value <= last);
const MAPPED = rangeOf(0xffffn << 32n, 96, 128);

export const forbiddenV4 = (value: bigint) => within(v4Ranges, value);
export const forbiddenV6 = (value: bigint) =>
  within([MAPPED], value) ? forbiddenV4(value & 0xffff_ffffn) : within(v6Ranges, value);

export const v4Text = (value: bigint) => [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
const wordsText = (value: bigint) =>
  (value.toString(16).padStart(32, '0').match(/.{4}/g) ?? []).map((word) => word.replace(/^0{1,3}/, '')).join(':');
const compressed = (text: string) => text.replace(/(^|:)0(:0)+(:|$)/, '::');
/** One address in several forms. */
export const v6Texts = (value: bigint) => {
  const words = wordsText(value);
  const withDots = `${words.split(':').slice(0, 6).join(':')}:${v4Text(value & 0xffff_ffffn)}`;
  return [words, compressed(words), words.toUpperCase(), withDots];
};

const random = (bits: number) =>
  BigInt(`0b${Array.from({ length: bits }, () => (Math.random() < 0.5 ? '0' : '1')).join('')}`);

/** Random addresses, half of them IPv4, of which the door and the list above think otherwise. */
export function disagreements(count: number): string[] {
  const wrong: string[] = [];
  for (let i = 0; i < count / 2; i++) {
    const value = random(32);
    if (isForbidden(v4Text(value)) !== forbiddenV4(value)) wrong.push(v4Text(value));
  }
  for (let i = 0; i < count / 2; i++) {
    const range = [...v6Ranges, MAPPED][i % (v6Ranges.length + 1)]!;
    const low = random(128);
    // Anywhere, within 2000::/3, or about a range.
    const near = range.first ^ (low >> BigInt(i % 128));
    const value = [low, (1n << 125n) | (low >> 3n), near][i % 3]!;
    const text = v6Texts(value)[i % 4]!;
    if (isForbidden(text) !== forbiddenV6(value)) wrong.push(text);
  }
  return wrong;
}
