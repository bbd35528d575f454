import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { isPassing } from '../../base/reasons.ts';
import { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import type { Connection } from '../../model/connection.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import type { ProviderBehaviour, ProviderInstance } from '../../providers/behaviour.ts';
import { subjectOf } from '../access/find-user.ts';
import { systemCall } from '../access/principal.ts';
import { audit } from '../audit/audit.ts';
import type { App, Call } from '../call.ts';
import { announce, read } from '../change.ts';
import { addConnection, DEFAULT_CHECKS, type NewConnection } from '../connections/create-connection.ts';
import { loadCredential } from '../connections/load-credential.ts';
import { storeCredential } from '../connections/store-credential.ts';
import { event } from '../events/event.ts';
import { connectionOf } from './find-account.ts';
import { type HeldAccount, holdAccount } from './hold-account.ts';

/**
 * - `use`: as it is, if it can be used at all.
 * - `suspect`: its key was refused, and is looked at.
 * - `renew`: also where its connection was revoked.
 */
export type Occasion = 'use' | 'suspect' | 'renew';
type Completion = { behaviour: ProviderBehaviour; instance: ProviderInstance; occasion: Occasion };

/** For how long a key that was seen to work is believed to. */
const BELIEVED_MS = 60_000;

/** Whether an account can be used as it is, and was seen to work a moment ago. */
export async function isComplete(call: Call, account: ProviderAccount): Promise<boolean> {
  const { verifyTime, status, connectionId, userService } = account;
  if (status !== 'ACTIVE' || userService === 'STALE' || !connectionId || !verifyTime) return false;
  if (call.app.clock.now() - verifyTime.getTime() > BELIEVED_MS) return false;
  return read(call, async (em) => (await connectionOf(em, account))?.status === 'ACTIVE');
}

/** Makes, finishes or mends an account, each step saved before the next one. Fails as `ensureAccount` does. */
export function completeAccount(call: Call, id: string, completion: Completion): Promise<ProviderAccount> {
  return holdAccount(call, id, async (held) => {
    // What another one did while we waited is not done again.
    if (completion.occasion !== 'suspect' && (await isComplete(call, held.account))) return held.account;
    return tellUserService(call, held, await provisioned(call, held, completion));
  });
}

async function provisioned(call: Call, held: HeldAccount, { behaviour, instance, occasion }: Completion) {
  const { account, state, save } = held;
  const connection = await read(call, (em) => connectionOf(em, account));
  const made = account.status === 'ACTIVE';
  const revoked = made && connection?.status === 'REVOKED';
  // Whoever revoked it meant it: the next use does not undo that.
  if (revoked && occasion !== 'renew') return account;
  const usable = made && connection?.status === 'ACTIVE';
  const works = await checked(held, behaviour, instance, usable && occasion !== 'suspect');
  if (!works) return account;
  if (!works.tokens) await save({ tokens: null });
  const newKey = revoked || (made && !connection) || !works.key;
  await behaviour.accounts!.provision(instance, state, save, { newKey });
  return stored(call, held, behaviour, instance);
}

/** Null: that cannot be found out now, and the account is used as it is. */
async function checked(
  { state }: HeldAccount,
  behaviour: ProviderBehaviour,
  instance: ProviderInstance,
  mayGoOn: boolean,
): Promise<{ key: boolean; tokens: boolean } | null> {
  if (!state.apiKey || !behaviour.checkKey) return { key: true, tokens: true };
  try {
    return await behaviour.checkKey(instance, state);
  } catch (error) {
    const foreseen =
      error instanceof LatchkeyError && (isPassing(error.reason) || error.reason === 'INTEGRATION_MISCONFIGURED');
    if (mayGoOn && foreseen) return null;
    throw error;
  }
}

/** The account is ready, and with it its connection, in one transaction. */
async function stored(
  call: Call,
  { account: held, state, change }: HeldAccount,
  behaviour: ProviderBehaviour,
  instance: ProviderInstance,
) {
  const { app, principal } = call;
  const { tenantId } = principal;
  const seal = await app.keyring.sealer(tenantId);
  const now = new Date(app.clock.now());
  const handedOut = await loadCredential(app, tenantId, held.connectionId ?? '');
  // An attempt that was interrupted can have left the connection the key before.
  const isNew = handedOut?.status !== 'ACTIVE' || handedOut.secrets.key !== state.apiKey;
  return change(async (em, account) => {
    const isFirst = account.status !== 'ACTIVE';
    if (isNew) {
      const credential = keyCredential(behaviour.accounts!.keyHeader, state.apiKey);
      const connection = await connectionOf(em, account);
      if (connection) await replaceKey(em, call, seal, connection, account, credential);
      else account.connectionId = await connect(em, app, seal, account, instance, credential);
      if (account.userService === 'TOLD') account.userService = 'STALE';
    }
    account.status = 'ACTIVE';
    account.verifyTime = now;
    account.updateTime = now;
    announce(em, { kind: 'account', tenantId, id: account.id });
    if (!isFirst && !isNew) return account;
    const resource = { type: 'account', id: account.id };
    audit(em, call, isFirst ? 'account_provisioned' : 'account_key_replaced', resource, { after: account.summary() });
    const type = isFirst ? 'account.provisioned' : 'account.key_replaced';
    event(em, call, type, account.aggregate(), account.summary());
    return account;
  });
}

function keyCredential(header: string, apiKey: string): NewConnection['credential'] {
  return {
    ...{ kind: 'api_key', fields: { location: 'header', name: header, prefix: '' }, expireTime: null },
    secrets: { key: { value: new SecretText(apiKey) } },
  };
}

async function replaceKey(
  em: Em,
  call: Call,
  seal: Sealer,
  connection: Connection,
  { remoteId }: ProviderAccount,
  credential: NewConnection['credential'],
): Promise<void> {
  connection.kind = 'api_key';
  connection.providerAccountId = remoteId;
  connection.granted([]);
  connection.changed(new Date(call.app.clock.now()));
  await storeCredential(em, call, seal, connection, credential);
  const { tenantId, id } = connection;
  const after = { ...connection.summary(), credential_replaced: true };
  audit(em, call, 'connection_updated', { type: 'connection', id }, { after });
  event(em, call, 'connection.updated', connection.aggregate(), after);
  announce(em, { kind: 'connection', tenantId, id });
}

/** Whoever may have an account may have the connection that stands for it. */
async function connect(
  em: Em,
  app: App,
  seal: Sealer,
  account: ProviderAccount,
  { provider, baseUrl, integrationId }: ProviderInstance,
  credential: NewConnection['credential'],
): Promise<string> {
  const id = newId('conn', app.clock.now());
  const of = { id, ownerUserId: account.ownerUserId, provider };
  const { id: accountId, remoteId } = account;
  const connection = await addConnection(em, systemCall(app, account.tenantId), seal, of, {
    // A second one of an account whose first was deleted comes under the same name.
    ...{ name: `${provider} ${accountId}`, displayName: account.username, projectId: null, provider, credential },
    ...{ ownerUserId: account.ownerUserId, baseUrl, allowedHosts: [], integrationId, enabled: true, isDefault: false },
    ...{ defaultHeaders: {}, timeoutMs: 60_000, retries: 2, backoffMs: 250, labels: {}, metadata: {}, config: {} },
    ...{ providerAccountId: remoteId, providerAccountEmail: '', providerAccountMetadata: {} },
    ...{ webhookSignatureSecret: null, ...DEFAULT_CHECKS },
  });
  return connection.id;
}

async function tellUserService(call: Call, { state, change }: HeldAccount, account: ProviderAccount) {
  const { userService } = call.app;
  const { ownerUserId, tenantId } = account;
  if (account.userService !== 'STALE' || !userService || !ownerUserId) return account;
  const { username, password, apiKey, remoteId: langflowUserId } = state;
  await userService.keep(await subjectOf(call.app, tenantId, ownerUserId), {
    username,
    password,
    apiKey,
    langflowUserId,
  });
  return change(async (_, mine) => {
    mine.userService = 'TOLD';
    return mine;
  });
}
