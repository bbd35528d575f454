import { newId } from '../../base/id.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import { enqueue } from '../../db/jobs.ts';
import type { Em } from '../../db/transaction.ts';
import { Connection } from '../../model/connection.ts';
import type { JsonObject } from '../../model/json.ts';
import { Revocation, revocationPlace } from '../../model/revocation.ts';
import { fillIn } from '../../providers/template.ts';
import type { Call, ReadyCredential } from '../call.ts';
import type { OAuthSetup } from '../integrations/oauth-setup.ts';

/** What becomes of a grant at its provider. */
export type ProviderRevocation = 'SCHEDULED' | 'UNSUPPORTED' | 'SHARED' | 'NOTHING';

/** A grant that is given up, read before the transaction: its tokens and its client. */
export type GivenUpGrant = { credential: ReadyCredential | null; setup: OAuthSetup | null; seal: Sealer };

/** What a revocation's sealed part says. */
export type SealedGrant = {
  accessToken: string;
  refreshToken: string | null;
  clientId: string;
  clientSecrets: string[];
};

/**
 * Has a job revoke a connection's tokens at the provider, in the transaction that gives them up. Not where the provider cannot revoke them alone, nor where
 * another connection lives by the same grant.
 */
export async function scheduleRevocation(
  em: Em,
  call: Call,
  connection: Connection,
  { credential, setup, seal }: GivenUpGrant,
): Promise<ProviderRevocation> {
  const accessToken = credential?.secrets.access_token;
  if (connection.kind !== 'oauth2' || !credential || !accessToken) return 'NOTHING';
  const revocation = setup?.client.definition.revocation;
  if (!setup || !revocation) return 'UNSUPPORTED';
  if (await isShared(em, connection)) return 'SHARED';
  const { tenantId, id: connectionId } = connection;
  const id = newId('rvk', call.app.clock.now());
  const { clientId, clientSecrets } = setup.client;
  const grant: SealedGrant = {
    accessToken,
    refreshToken: credential.secrets.refresh_token ?? null,
    clientId,
    clientSecrets: clientSecrets.map((secret) => secret.reveal()),
  };
  const plaintext = Buffer.from(JSON.stringify(grant));
  const values = { ...setup.parameters, ...keptWith(connection), client_id: clientId };
  em.create(Revocation, {
    ...{ tenantId, id, connectionId, provider: connection.provider },
    request: {
      ...revocation,
      url: fillIn(revocation.url, values),
      ...(revocation.parameters ? { parameters: filledIn(revocation.parameters, values) } : {}),
    },
    sealed: seal(revocationPlace(tenantId, id), plaintext),
    ...{ status: 'PENDING', attempts: 0, lastError: '', settleTime: null },
    createTime: new Date(call.app.clock.now()),
  });
  plaintext.fill(0);
  await em.flush();
  await enqueue(em, 'revoke_grant', { tenantId, id });
  return 'SCHEDULED';
}

/** Another connection to the same account by the same integration: its tokens may be of the same grant, as they are at Google. */
async function isShared(em: Em, { tenantId, id, integrationId, providerAccountId }: Connection): Promise<boolean> {
  if (!providerAccountId) return false;
  const others = await em.count(Connection, {
    ...{ tenantId, integrationId, providerAccountId, status: 'ACTIVE' },
    id: { $ne: id },
  });
  return others > 0;
}

function keptWith({ providerAccountMetadata }: Connection): Record<string, string> {
  return Object.fromEntries(
    Object.entries(providerAccountMetadata as JsonObject).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
}

function filledIn(parameters: Record<string, string>, values: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(parameters).map(([name, text]) => [name, fillIn(text, values)]));
}
