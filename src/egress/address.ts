import { BlockList, isIP } from 'node:net';

/**
 * What no outbound call may reach unless the operator allows it: the special-purpose registries of IANA (RFC 6890), multicast, what was set
 * aside for documentation, and every form of IPv6 that carries an IPv4 address to somewhere else.
 */
const DENIED = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  ...['224.0.0.0/4', '240.0.0.0/4', '255.255.255.255/32'],
  ...['::/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/32', '2001:db8::/32', '2002::/16'],
  ...['3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
];

export type Family = 'ipv4' | 'ipv6';

/** An IP address, read. */
type Address = {
  family: Family;
  /** The shortest form, as WHATWG URLs write it. */
  text: string;
  /** IPv4 addresses carried inside an IPv6 address, by the mapping, NAT64, 6to4 or Teredo; each is reached in its place. */
  carried: string[];
};

/** Ranges of addresses. IPv4 and IPv6 are kept apart, for a BlockList would find 127.0.0.1 in ::/0. */
export class Ranges {
  readonly #lists = { ipv4: new BlockList(), ipv6: new BlockList() };

  /** Adds an address or a range in CIDR form. Answers false, having added nothing, where it is neither, or an IPv4 range in IPv6's dress. */
  add(range: string): boolean {
    const [, start = '', bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(range) ?? [];
    const address = readAddress(start);
    if (!address) return false;
    const { family, text } = address;
    if (bits !== undefined && family === 'ipv4' && start.includes(':')) return false;
    const most = family === 'ipv4' ? 32 : 128;
    const prefix = Number(bits ?? most);
    if (prefix > most) return false;
    this.#lists[family].addSubnet(text, prefix, family);
    return true;
  }

  has(face: string, family: Family): boolean {
    return this.#lists[family].check(face, family);
  }
}

/**
 * Whether every address that a packet to this one could reach satisfies a test: itself, and the IPv4 addresses it carries.
 * False for what is no address, and for addresses with a zone.
 * @param address IPv4 or IPv6 in any textual form
 */
export function everyFace(address: string, test: (face: string, family: Family) => boolean): boolean {
  const read = readAddress(address);
  return read !== null && test(read.text, read.family) && read.carried.every((face) => test(face, 'ipv4'));
}

const denied = new Ranges();
for (const range of DENIED) denied.add(range);

/** Whether one address lies in the ranges that no outbound call may reach; what it carries is not looked at. */
export function isDenied(face: string, family: Family): boolean {
  return denied.has(face, family);
}

/** Whether no outbound call may reach the address, unless an operator allows it. What is no address, or has a zone, is forbidden too. */
export function isForbidden(address: string): boolean {
  return !everyFace(address, (face, family) => !isDenied(face, family));
}

function readAddress(address: string): Address | null {
  const version = address.includes('%') ? 0 : isIP(address);
  if (version === 0) return null;
  if (version === 4) return { family: 'ipv4', text: address, carried: [] };
  // The URL parser brings IPv6 into one form, without dotted quads.
  const text = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const words = wordsOf(text);
  const mapped = startsWith(words, [0, 0, 0, 0, 0, 0xffff]);
  if (mapped) return { family: 'ipv4', text: dotted(words[6], words[7]), carried: [] };
  return { family: 'ipv6', text, carried: carriedIn(words) };
}

/** The eight 16-bit words of an IPv6 address in the form of the URL parser. */
function wordsOf(text: string): number[] {
  const [head = '', tail] = text.split('::');
  const read = (part: string) => (part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16)));
  if (tail === undefined) return read(head);
  const zeros = new Array<number>(8 - read(head).length - read(tail).length).fill(0);
  return [...read(head), ...zeros, ...read(tail)];
}

function carriedIn(words: number[]): string[] {
  const last = dotted(words[6], words[7]);
  if (startsWith(words, [0x64, 0xff9b, 0, 0, 0, 0])) return [last]; // NAT64, RFC 6052
  if (startsWith(words, [0x2002])) return [dotted(words[1], words[2])]; // 6to4, RFC 3056
  // Teredo, RFC 4380: the server, and the client with its bits inverted.
  if (startsWith(words, [0x2001, 0])) return [dotted(words[2], words[3]), dotted(~words[6]!, ~words[7]!)];
  // IPv4-compatible, RFC 4291; `::` and `::1` are addresses of their own.
  const compatible = startsWith(words, [0, 0, 0, 0, 0, 0]) && (words[6] !== 0 || words[7]! > 1);
  return compatible ? [last] : [];
}

function startsWith(words: number[], start: number[]): boolean {
  return start.every((word, index) => words[index] === word);
}

function dotted(high = 0, low = 0): string {
  return [high >> 8, high, low >> 8, low].map((byte) => byte & 0xff).join('.');
}
