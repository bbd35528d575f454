import { ApiKey } from '../../model/api-key.ts';
import { User } from '../../model/user.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';

export type Me = { user: User | null; apiKey: ApiKey | null };

/** Answers who the caller is. */
export function getMe(call: Call): Promise<Me> {
  const { tenantId, kind, id, userId } = call.principal;
  return read(call, async (em) => ({
    user: userId ? await em.findOne(User, { tenantId, id: userId }) : null,
    apiKey: kind === 'api_key' ? await em.findOne(ApiKey, { tenantId, id }) : null,
  }));
}
