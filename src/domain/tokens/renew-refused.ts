import type { Call, ReadyCredential } from '../call.ts';
import { type CredentialUse, getCredentials } from './get-credentials.ts';
import { refresh } from './refresh.ts';
import { isRefreshable } from './refuse-unless-usable.ts';

/**
 * Another credential in place of one that the other side refused (401), where a token can be renewed or fetched anew; of many that were refused at once
 * one is renewed. Null: there is no other. Fails as getCredentials does.
 */
export async function renewRefused(
  call: Call,
  refused: ReadyCredential,
  use: CredentialUse,
): Promise<ReadyCredential | null> {
  const { app } = call;
  if (isRefreshable(refused)) {
    // Shared with whoever was refused with the same token: its generation is the key.
    await refresh(app, refused, { force: true });
  } else {
    const fetched = refused.secrets.access_token ?? refused.secrets.key;
    if (fetched) app.fetchedTokens.drop(fetched);
  }
  const now = await getCredentials(call, refused.connectionId, null, use);
  return sameSecrets(now, refused) ? null : now;
}

function sameSecrets(one: ReadyCredential, other: ReadyCredential): boolean {
  return JSON.stringify(one.secrets) === JSON.stringify(other.secrets);
}
