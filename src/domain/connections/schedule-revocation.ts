import { newId } from '../../base/id.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import { enqueue } from '../../db/jobs.ts';
import type { Em } from '../../db/transaction.ts';
import type { Connection } from '../../model/connection.ts';
import { ProviderAccount } from '../../model/provider-account.ts';
import { Revocation, revocationPlace } from '../../model/revocation.ts';
import type { RevocationDefinition } from '../../oauth/definition.ts';
import { fillIn, fillInText } from '../../providers/template.ts';
import type { Call, OAuthSetup, ReadyCredential } from '../call.ts';

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
  if (await endAccountKey(em, connection)) return 'SCHEDULED';
  const accessToken = credential?.secrets.access_token;
  if (connection.kind !== 'oauth2' || !credential || !accessToken) return 'NOTHING';
  if (!setup?.client.definition.revocation) return 'UNSUPPORTED';
  if (await isShared(em, connection.tenantId, setup.client.clientId, connection)) return 'SHARED';
  const grant = { accessToken, refreshToken: credential.secrets.refresh_token ?? null };
  const kept = (credential.fields.kept ?? {}) as Record<string, string>;
  const of = { connectionId: connection.id, provider: connection.provider, kept };
  return addRevocation(em, call, of, grant, setup, seal);
}

/** Where a connection stands for an account that Latchkey made, a job ends the account's key. */
async function endAccountKey(em: Em, { tenantId, id: connectionId }: Connection): Promise<boolean> {
  const account = await em.findOne(ProviderAccount, { tenantId, connectionId }, { fields: ['id'] });
  if (account) await enqueue(em, 'end_account_key', { tenantId, id: account.id });
  return account !== null;
}

/** Whose grant it is, with what Latchkey itself kept of it: nothing that a caller wrote may say where secrets go. */
type RevokedOf = { connectionId: string; provider: string; kept: Record<string, string> };

/** Has a job revoke tokens at the provider; nothing where it has no way to. */
export async function addRevocation(
  em: Em,
  call: Call,
  { connectionId, provider, kept }: RevokedOf,
  tokens: Pick<SealedGrant, 'accessToken' | 'refreshToken'>,
  setup: OAuthSetup,
  seal: Sealer,
): Promise<'SCHEDULED' | 'UNSUPPORTED'> {
  const { tenantId } = call.principal;
  const request = requestOf(setup, kept);
  // What cannot be filled in is no reason to keep on using the connection.
  if (!request) return 'UNSUPPORTED';
  const id = newId('rvk', call.app.clock.now());
  const { clientId, clientSecrets } = setup.client;
  const grant: SealedGrant = { ...tokens, clientId, clientSecrets: clientSecrets.map((secret) => secret.reveal()) };
  const plaintext = Buffer.from(JSON.stringify(grant));
  em.create(Revocation, {
    ...{ tenantId, id, connectionId, provider },
    request,
    sealed: seal(revocationPlace(tenantId, id), plaintext),
    ...{ status: 'PENDING', attempts: 0, lastError: '', settleTime: null },
    createTime: new Date(call.app.clock.now()),
  });
  plaintext.fill(0);
  await em.flush();
  await enqueue(em, 'revoke_grant', { tenantId, id });
  return 'SCHEDULED';
}

function requestOf({ client, parameters }: OAuthSetup, kept: Record<string, string>): RevocationDefinition | null {
  const { revocation } = client.definition;
  if (!revocation) return null;
  const values: Record<string, string> = { ...parameters, ...kept, client_id: client.clientId };
  const members = Object.entries(revocation.parameters ?? {});
  try {
    const filled = members.map(([name, text]) => [name, fillInText(text, values)]);
    return { ...revocation, url: fillIn(revocation.url, values), parameters: Object.fromEntries(filled) };
  } catch {
    return null;
  }
}

/** Another connection to the same account by the same client: its tokens may be of the same grant, as they are at Google. */
export async function isShared(
  em: Em,
  tenantId: string,
  clientId: string,
  { id, provider, providerAccountId }: Pick<Connection, 'id' | 'provider' | 'providerAccountId'>,
): Promise<boolean> {
  if (!providerAccountId) return false;
  // One at a time: of two that go at once, each would leave the grant to the other.
  await em.execute('select pg_advisory_xact_lock(hashtextextended(?, 0))', [
    JSON.stringify(['grant', tenantId, clientId, providerAccountId]),
  ]);
  const others = await em.execute<{ id: string }[]>(
    `select c.id from latchkey.connection c join latchkey.integration i on i.tenant_id = c.tenant_id and i.id = c.integration_id
     where c.tenant_id = ? and c.provider = ? and c.provider_account_id = ? and c.status = 'ACTIVE' and c.id <> ? and i.client_id = ? limit 1`,
    [tenantId, provider, providerAccountId, id, clientId],
  );
  return others.length > 0;
}
