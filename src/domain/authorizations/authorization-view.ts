import type { Authorization } from '../../model/authorization.ts';

export type AuthorizationStatus = 'PENDING' | 'SUCCEEDED' | 'FAILED' | 'EXPIRED';
/** How an authorization stands. */
export type AuthorizationView = { authorization: Authorization; status: AuthorizationStatus; reason: string };

/** An exchange takes seconds, and its grant may wait a minute for the database. One that is older was cut off with its process, and its code is used up. */
const EXCHANGE_MS = 150_000;

/** How an authorization stands now: what time has ended needs nobody to say so. */
export function viewOf(authorization: Authorization, now: number): AuthorizationView {
  const { status, reason, expireTime, claimTime } = authorization;
  if (status === 'PENDING' && expireTime.getTime() <= now) return { authorization, status: 'EXPIRED', reason: '' };
  if (reason === 'AUTHORIZATION_EXPIRED') return { authorization, status: 'EXPIRED', reason: '' };
  if (status !== 'EXCHANGING') return { authorization, status, reason };
  const cutOff = claimTime !== null && claimTime.getTime() + EXCHANGE_MS <= now;
  return {
    authorization,
    ...(cutOff ? { status: 'FAILED', reason: 'AUTHORIZATION_FAILED' } : { status: 'PENDING', reason }),
  };
}
