import type { Integration } from '../../model/integration.ts';
import type { App, KnownProvider } from '../call.ts';

/**
 * Where the provider sends a person back to. A provider that says in its answer who it is (`iss`, RFC 9207) shares one address; every other has its
 * own, so that an answer of one cannot be taken for another's (RFC 9700, section 4.4.2.1).
 */
export function redirectUri(
  { publicUrl }: App,
  { definition, custom }: KnownProvider,
  { redirectPath }: Pick<Integration, 'redirectPath'>,
): string {
  if (redirectPath) return `${publicUrl}${redirectPath}`;
  const shared = definition.oauth?.sendsIss === true && !custom;
  return shared ? `${publicUrl}/oauth/callback` : `${publicUrl}/oauth/callback/${definition.name}`;
}
