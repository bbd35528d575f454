import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import type { Em } from '../../db/transaction.ts';
import { Authorization } from '../../model/authorization.ts';
import { Connection } from '../../model/connection.ts';
import type { Integration } from '../../model/integration.ts';
import { refuseForeignProject } from '../access/projects.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { flushNamed } from '../connections/connection-input.ts';
import { DEFAULT_CHECKS } from '../connections/create-connection.ts';
import { ownerFor, refuseUnknownUser } from '../connections/owner.ts';
import { refuseOverLimit } from '../connections/refuse-over-limit.ts';
import { event } from '../events/event.ts';
import { isStarter } from './find-authorization.ts';

/** A connection to be made by an authorization. */
export type NewPendingConnection = {
  name: string;
  displayName: string;
  projectId: string | null;
  ownerUserId: string | null;
  ownerByEmail: boolean;
  isDefault: boolean;
  labels: Record<string, string>;
};

/**
 * Makes the connection that an authorization is for. One that was begun under the same name, by the same integration for the same owner, and never
 * authorized is taken up again: a person who closed the window starts anew.
 * Fails with CONNECTION_NAME_TAKEN, CONNECTION_LIMIT_REACHED, USER_NOT_FOUND, PERMISSION_MISSING.
 */
export async function pendingConnection(
  em: Em,
  call: Call,
  integration: Integration,
  input: NewPendingConnection,
): Promise<Connection> {
  const { tenantId } = call.principal;
  const { name, projectId, labels } = input;
  refuseForeignProject(call.principal, projectId);
  const ownerUserId = ownerFor(call, input.ownerUserId);
  await refuseUnknownUser(em, tenantId, ownerUserId);
  const integrationId = integration.id;
  if (input.ownerByEmail) refuseOwnerByEmail(call, input);
  else {
    const begun = { tenantId, projectId, name, ownerUserId, integrationId, status: 'PENDING' as const };
    const known = await em.findOne(Connection, begun);
    if (known && (await isBegunBy(em, call, known))) return known;
  }
  const now = new Date(call.app.clock.now());
  const id = newId('conn', now.getTime());
  const connection = em.create(Connection, {
    ...{ tenantId, id, projectId, ownerUserId, name, displayName: input.displayName || name, labels },
    // The mark stays with the connection that has it until this one can be used.
    isDefault: false,
    ...{ provider: integration.provider, integrationId, kind: 'oauth2', status: 'PENDING', statusReason: 'pending' },
    ...{ requestedScopes: [], grantedScopes: [], missingScopes: [] },
    ...{
      baseUrl: '',
      allowedHosts: [],
      defaultHeaders: {},
      timeoutMs: 8_000,
      retries: 2,
      backoffMs: 250,
      metadata: {},
      config: {},
    },
    ...DEFAULT_CHECKS,
    ...{ providerAccountId: '', providerAccountEmail: '', providerAccountMetadata: {} },
    ...{ webhookSignatureSecret: null, previousWebhookSecret: null, previousWebhookSecretExpireTime: null },
    ...{ enabled: true, version: 1, lastTestedAt: null, lastUsedAt: null, createTime: now, updateTime: now },
  });
  await flushNamed(em, name);
  await refuseOverLimit(em, call);
  const resource = { type: 'connection', id };
  audit(em, call, 'connection_created', resource, { after: connection.summary() });
  event(em, call, 'connection.created', connection.aggregate(), connection.summary());
  return connection;
}

/** Whose account it will be decides who owns it: that is for who may make connections for anybody. */
function refuseOwnerByEmail({ principal }: Call, { ownerUserId }: NewPendingConnection): void {
  const forAnybody = principal.administrator || (principal.kind === 'api_key' && principal.userId === null);
  if (!forAnybody || !principal.permissions.has('connection:create'))
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'connection:create' } });
  if (ownerUserId) throw fieldInvalid('new_connection.owner_user_id', 'goes without owner_by_email');
}

async function isBegunBy(em: Em, { principal }: Call, { tenantId, id }: Connection): Promise<boolean> {
  const attempts = await em.find(Authorization, { tenantId, connectionId: id }, { fields: ['starter'] });
  return attempts.some(({ starter }) => isStarter(principal, starter));
}
