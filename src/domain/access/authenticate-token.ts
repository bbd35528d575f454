import type { JWTPayload } from 'jose';
import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { Tenant } from '../../model/tenant.ts';
import { User } from '../../model/user.ts';
import { audit } from '../audit/audit.ts';
import type { App, Principal } from '../call.ts';
import { change, changeIn } from '../change.ts';
import { event } from '../events/event.ts';
import { callRates } from './call-rates.ts';
import { ensureTenant } from './ensure-tenant.ts';
import { ROLE_NAMES } from './permissions.ts';
import type { Presented } from './presented.ts';
import { principalOfUser, systemCall } from './principal.ts';

/** A tenant's id, as CreateTenant takes it. */
const TENANT_ID = /^[A-Za-z0-9][A-Za-z0-9._:|@-]{0,99}$/;
/** How exactly `last_seen_at` is kept. */
const SEEN_MS = 60_000;

/**
 * Who an access token of the identity provider names. The tenant and the user are made where they are new. Null where no issuer is configured.
 * Fails with CREDENTIALS_INVALID, TENANT_DELETED, IDENTITY_PROVIDER_UNAVAILABLE, PERMISSION_MISSING where a user would act for another.
 */
export async function authenticateToken(app: App, { credential, actsFor }: Presented): Promise<Principal | null> {
  const { identityProvider, config } = app;
  if (!identityProvider) return null;
  if (actsFor !== undefined) throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'user:act_as' } });
  const claims = await identityProvider.verify(credential);
  const tenantId = claims[config.identity.tenantClaim];
  if (typeof tenantId !== 'string' || !TENANT_ID.test(tenantId)) throw new LatchkeyError('CREDENTIALS_INVALID');
  const mappedRoles = rolesOfGroups(config.identity.groupsOfRole, await groupsOf(app, claims, credential));
  const user = await seeUser(app, tenantId, claims, mappedRoles);
  const { limits } = await changeIn(app, tenantId, (em) => em.findOneOrFail(Tenant, { tenantId }));
  const { id, assignedRoles } = user;
  const of = { tenantId, id, assignedRoles, roles: user.roles() };
  return principalOfUser(of, projectsOf(app, claims), claims.exp! * 1000, callRates(app, limits, null));
}

async function groupsOf(app: App, claims: JWTPayload, token: string): Promise<string[]> {
  const { groupsClaim, userinfoGroups } = app.config.identity;
  const own = claims[groupsClaim];
  if (own !== undefined || !userinfoGroups) return strings(own);
  return strings((await app.identityProvider!.userinfo(token))[groupsClaim]);
}

function rolesOfGroups(groupsOfRole: App['config']['identity']['groupsOfRole'], groups: string[]): string[] {
  return ROLE_NAMES.filter((role) => groupsOfRole[role].some((group) => groups.includes(group)));
}

/** Without a claim configured nobody is limited; with one, a token that lacks it has no projects. */
function projectsOf(app: App, claims: JWTPayload): string[] | null {
  const { projectsClaim } = app.config.identity;
  return projectsClaim ? strings(claims[projectsClaim]) : null;
}

function strings(claim: unknown): string[] {
  if (typeof claim === 'string') return [claim];
  return Array.isArray(claim) ? claim.filter((item) => typeof item === 'string') : [];
}

async function seeUser(app: App, tenantId: string, claims: JWTPayload, mappedRoles: string[]): Promise<User> {
  const now = new Date(app.clock.now());
  const key = { tenantId, issuer: claims.iss!, subject: claims.sub! };
  const seen = {
    email: typeof claims.email === 'string' ? claims.email : '',
    displayName: typeof claims.name === 'string' ? claims.name : '',
    mappedRoles,
  };
  const call = systemCall(app, tenantId);
  await ensureTenant(call, '');
  return change(call, async (em) => {
    const [made] = await em.execute<{ id: string }[]>(
      `insert into latchkey.app_user (tenant_id, id, issuer, subject, email, display_name, assigned_roles, mapped_roles, create_time, last_seen_at)
       values (?, ?, ?, ?, '', '', '{}', '{}', ?, ?) on conflict on constraint app_user_subject do nothing returning id`,
      [tenantId, newId('user', now.getTime()), key.issuer, key.subject, now, now],
    );
    const user = await em.findOneOrFail(User, key);
    const before = made ? undefined : user.summary();
    const rolesChanged = user.mappedRoles.join() !== mappedRoles.join();
    const stale = now.getTime() - user.lastSeenAt.getTime() > SEEN_MS;
    const renamed = user.email !== seen.email || user.displayName !== seen.displayName;
    if (!made && !rolesChanged && !stale && !renamed) return user;
    em.assign(user, { ...seen, lastSeenAt: now });
    if (!made && (rolesChanged || renamed)) user.version += 1;
    if (made || rolesChanged) {
      const resource = { type: 'user', id: user.id };
      audit(em, call, made ? 'user_created' : 'user_roles_mapped', resource, { before, after: user.summary() });
      const type = made ? 'user.created' : 'user.roles_updated';
      event(em, call, type, user.aggregate(), { subject: user.subject, roles: user.roles() });
    }
    return user;
  });
}
