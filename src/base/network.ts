import { isIPv6 } from 'node:net';

/** What stands for whoever is behind an address: itself, or of IPv6 the network of 64 bits, all of which is one subscriber's. */
export function networkOf(address: string): string {
  if (!isIPv6(address) || address.includes('.')) return address;
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const last = groups(tail ?? '');
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - groups(head).length - last.length }, () => '0');
  const all = [...groups(head), ...zeros, ...last].map((group) => Number.parseInt(group, 16).toString(16));
  return all.slice(0, 4).join(':');
}
