import { hash } from 'node:crypto';
import type { App, Call, ReadyCredential } from '../call.ts';
import { type CredentialUse, getCredentials } from './get-credentials.ts';
import { refresh } from './refresh.ts';
import { isRefreshable } from './refuse-unless-usable.ts';

/**
 * Another credential in place of one that the other side refused (401): the one that is current by now, or one that is renewed for the purpose. Of many that
 * were refused at once one is renewed, and one that came of this is not renewed again for 30 s. Null: there is no other. Fails as getCredentials does.
 */
export async function renewRefused(
  call: Call,
  refused: ReadyCredential,
  use: CredentialUse,
): Promise<ReadyCredential | null> {
  const { app } = call;
  if (!mayBeRenewed(app, refused)) return null;
  const current = await getCredentials(call, refused.connectionId, null, use);
  if (!sameSecrets(current, refused)) return current;
  // Shared with all who were refused with the same token.
  if (isRefreshable(refused)) await refresh(app, refused);
  else app.fetchedTokens.drop(tokenOf(refused));
  const renewed = await getCredentials(call, refused.connectionId, null, use);
  if (sameSecrets(renewed, refused)) return null;
  app.renewedAfterRefusal.add(keyOf(renewed));
  return renewed;
}

/** Whether there may be another credential in place of a refused one: a key that was given is what it is. */
export function mayBeRenewed(app: App, refused: ReadyCredential): boolean {
  return (isRefreshable(refused) || refused.fetched === true) && !app.renewedAfterRefusal.has(keyOf(refused));
}

/** Of the kinds whose token is fetched when it is used. */
function tokenOf({ secrets }: ReadyCredential): string {
  return secrets.access_token ?? secrets.key ?? '';
}

function keyOf({ tenantId, connectionId, secrets }: ReadyCredential): string {
  return `${tenantId} ${connectionId} ${hash('sha256', JSON.stringify(secrets), 'base64')}`;
}

function sameSecrets(one: ReadyCredential, other: ReadyCredential): boolean {
  return keyOf(one) === keyOf(other);
}
