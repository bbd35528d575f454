import type { TokenSet } from '../../oauth/token-set.ts';

/** The tokens of an answer, by the names that they are sealed under. */
export function tokenSecrets({ accessToken, refreshToken, further }: TokenSet): Record<string, string> {
  const parts = (prefix: string, access: string, refresh: string | null) => ({
    [`${prefix}access_token`]: access,
    ...(refresh ? { [`${prefix}refresh_token`]: refresh } : {}),
  });
  const others = further.map((token) => parts(`further.${token.name}.`, token.accessToken, token.refreshToken));
  return Object.assign(parts('', accessToken, refreshToken), ...others);
}

/** The names that further access tokens are sealed under, by those that the provider's entry gives them. */
export function furtherAccessTokenNames(secrets: Record<string, string>): Record<string, string> {
  const found = Object.keys(secrets).map((name) => [/^further\.(.+)\.access_token$/.exec(name)?.[1], name]);
  return Object.fromEntries(found.filter(([further]) => further));
}
