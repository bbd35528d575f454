/** The hosts that a connection's credential may be sent to. */
type Hosts = { baseUrl: string; allowedHosts: readonly string[] };

/** Whether a change would let a stored credential be sent to where it could not be sent before. */
export function leadsElsewhere(
  before: Hosts,
  {
    baseUrl = before.baseUrl,
    allowedHosts = before.allowedHosts,
  }: { [Field in keyof Hosts]?: Hosts[Field] | undefined },
): boolean {
  const moved = baseUrl !== '' && URL.parse(baseUrl)?.origin !== URL.parse(before.baseUrl)?.origin;
  return moved || allowedHosts.some((host) => !before.allowedHosts.includes(host));
}
