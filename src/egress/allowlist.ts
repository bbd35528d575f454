import { isIP } from 'node:net';
import { StartError } from '../base/error.ts';
import { everyFace, isDenied, Ranges } from './address.ts';

/** What may be reached though it lies in a denied range. */
export type Allowlist = {
  /** Host names in lower case. */
  hosts: ReadonlySet<string>;
  /** `.example.com` for `*.example.com`. */
  suffixes: readonly string[];
  ranges: Ranges;
};

/**
 * Reads what an operator allows: host names (`idp.internal`), their subdomains (`*.internal`), addresses, ranges in CIDR form.
 * IPv6 may stand in brackets. Throws StartError, which names the item that is none of these.
 */
export function parseAllowlist(items: readonly string[]): Allowlist {
  const hosts = new Set<string>();
  const suffixes: string[] = [];
  const ranges = new Ranges();
  for (const item of items) {
    if (ranges.add(item.replace(/^\[(.*)\]$/, '$1'))) continue;
    const wildcard = item.startsWith('*.');
    const host = hostName(wildcard ? item.slice(2) : item);
    if (host === null)
      throw new StartError(`EGRESS_ALLOW: "${item}" is no host name, address or range such as 10.0.0.0/8`);
    if (wildcard) suffixes.push(`.${host}`);
    else hosts.add(host);
  }
  return { hosts, suffixes, ranges };
}

/**
 * Whether a call to `host` may reach `address`. An allowed name may resolve to anything. An address that carries another (NAT64, 6to4) is
 * permitted where both are: who allows 64:ff9b::/96 for a NAT64 network has not allowed 64:ff9b::127.0.0.1.
 * @param host of the URL, in lower case
 */
export function permits({ hosts, suffixes, ranges }: Allowlist, host: string, address: string): boolean {
  if (hosts.has(host) || suffixes.some((suffix) => host.endsWith(suffix))) return true;
  return everyFace(address, (face, family) => !isDenied(face, family) || ranges.has(face, family));
}

/** Whether the operator names a host, or an address that the URL has in its place. */
export function isNamed({ hosts, suffixes, ranges }: Allowlist, host: string): boolean {
  if (hosts.has(host) || suffixes.some((suffix) => host.endsWith(suffix))) return true;
  return isIP(host) !== 0 && everyFace(host, (face, family) => ranges.has(face, family));
}

/** The name as URLs have it, or null where it is none. */
function hostName(text: string): string | null {
  const url = `http://${text}/`;
  if (text === '' || /[\s/:@?#\\*%[\]]/.test(text) || !URL.canParse(url)) return null;
  const { hostname } = new URL(url);
  // `127.1` would be read as an address: it shall be written as one.
  return isIP(hostname) === 0 ? hostname : null;
}
