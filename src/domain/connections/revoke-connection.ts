import type { Em } from '../../db/transaction.ts';
import type { Connection } from '../../model/connection.ts';
import { Credential } from '../../model/credential.ts';
import { CredentialSecretRef } from '../../model/credential-secret-ref.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { type ConnectionView, viewOf } from './connection-view.ts';
import { lockConnection } from './find-connection.ts';
import { givenUpGrant } from './given-up-grant.ts';
import { type GivenUpGrant, type ProviderRevocation, scheduleRevocation } from './schedule-revocation.ts';

/** Ends all use of a connection at once, then has its tokens revoked at the provider. Fails with CONNECTION_NOT_FOUND. */
export async function revokeConnection(
  call: Call,
  id: string,
): Promise<{ view: ConnectionView; providerRevocation: ProviderRevocation }> {
  const grant = await givenUpGrant(call.app, call.principal.tenantId, id);
  return change(call, async (em) => {
    const connection = await lockConnection(em, call, id, 'connection:delete');
    const providerRevocation = await revokeIn(em, call, connection, grant);
    return { view: await viewOf(em, connection), providerRevocation };
  });
}

/** The same in a transaction that has locked the connection. No change where it is revoked. */
export async function revokeIn(
  em: Em,
  call: Call,
  connection: Connection,
  grant: GivenUpGrant,
): Promise<ProviderRevocation> {
  if (connection.status === 'REVOKED') return 'NOTHING';
  const { tenantId, id } = connection;
  const before = connection.summary();
  connection.status = 'REVOKED';
  connection.statusReason = 'revoked';
  connection.changed(new Date(call.app.clock.now()));
  const providerRevocation = await scheduleRevocation(em, call, connection, grant);
  await em.nativeDelete(Credential, { tenantId, connectionId: id });
  await em.nativeDelete(CredentialSecretRef, { tenantId, connectionId: id });
  const resource = { type: 'connection', id };
  const after = { ...connection.summary(), provider_revocation: providerRevocation };
  audit(em, call, 'connection_revoked', resource, { before, after });
  event(em, call, 'connection.revoked', connection.aggregate(), after);
  announce(em, { kind: 'connection', tenantId, id });
  await em.flush();
  return providerRevocation;
}
