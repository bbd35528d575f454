/** What says where a connection's credential may be sent to; checks of it ask its provider. */
type Hosts = { baseUrl: string; allowedHosts: readonly string[]; provider: string };

/** Whether a change would let a stored credential be sent to where it could not be sent before. */
export function leadsElsewhere(before: Hosts, change: { [Field in keyof Hosts]?: Hosts[Field] | undefined }): boolean {
  const { baseUrl = before.baseUrl, allowedHosts = before.allowedHosts, provider = before.provider } = change;
  const moved = baseUrl !== '' && URL.parse(baseUrl)?.origin !== URL.parse(before.baseUrl)?.origin;
  const another = provider !== '' && provider !== before.provider;
  return moved || another || allowedHosts.some((host) => !before.allowedHosts.includes(host));
}
