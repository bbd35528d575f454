/**
 * The caller's address. Behind trusted proxies it is the entry of `x-forwarded-for` that the outermost of them added: the n-th from the right.
 * @param trustedProxies how many proxies stand before us; 0: the header is anybody's claim and is ignored
 */
export function callerAddress(peer: string, forwardedFor: string | undefined, trustedProxies: number): string {
  if (trustedProxies === 0 || !forwardedFor) return peer;
  const hops = forwardedFor.split(',').map((hop) => hop.trim());
  return hops.at(-trustedProxies) || hops[0] || peer;
}
