import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import type { Em } from '../../db/transaction.ts';
import type { Integration } from '../../model/integration.ts';
import { User } from '../../model/user.ts';
import type { Account } from '../../oauth/identify.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { event } from '../events/event.ts';

/** Issuer of users who are known by an account alone, not by a token of the identity provider. */
const BY_ACCOUNT = 'latchkey:account';

/**
 * The user with the account's e-mail address, which the provider must have verified. Where there is none, one is made as a requestor if the
 * integration says so. Fails with USER_UNKNOWN.
 */
export async function ownerByEmail(
  em: Em,
  call: Call,
  integration: Integration,
  account: Account | null,
): Promise<string> {
  const { tenantId } = call.principal;
  const email = account?.email.toLowerCase();
  if (!email || !account?.emailVerified) throw new LatchkeyError('USER_UNKNOWN');
  const [known] = await em.execute<{ id: string }[]>(
    'select id from latchkey.app_user where tenant_id = ? and lower(email) = ? and delete_time is null order by id limit 1',
    [tenantId, email],
  );
  if (known) return known.id;
  if (!integration.autoCreateUsers) throw new LatchkeyError('USER_UNKNOWN');
  const now = new Date(call.app.clock.now());
  const user = em.create(User, {
    ...{ tenantId, id: newId('user', now.getTime()), issuer: BY_ACCOUNT, subject: email, email, displayName: '' },
    ...{ assignedRoles: [], mappedRoles: [], createTime: now, lastSeenAt: now },
    ...{ version: 1, deleteTime: null },
  });
  await em.flush();
  const resource = { type: 'user', id: user.id };
  audit(em, call, 'user_created', resource, { after: user.summary() });
  event(em, call, 'user.created', user.aggregate(), { subject: user.subject, roles: user.roles() });
  return user.id;
}
