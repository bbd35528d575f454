import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { isPassing } from '../../base/reasons.ts';
import { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import { Connection } from '../../model/connection.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import type { AccountState, ProviderBehaviour, ProviderInstance } from '../../providers/behaviour.ts';
import { subjectOf } from '../access/find-user.ts';
import { systemCall } from '../access/principal.ts';
import { audit } from '../audit/audit.ts';
import type { App, Call } from '../call.ts';
import { announce, read } from '../change.ts';
import { addConnection, type NewConnection } from '../connections/create-connection.ts';
import { storeCredential } from '../connections/store-credential.ts';
import { event } from '../events/event.ts';
import { type HeldAccount, holdAccount } from './hold-account.ts';

type Completion = { behaviour: ProviderBehaviour; instance: ProviderInstance; suspect: boolean };

/** For how long a key that was seen to work is believed to. */
const BELIEVED_MS = 60_000;

/** Whether an account can be used as it is, and was seen to work a moment ago. */
export async function isComplete(call: Call, account: ProviderAccount): Promise<boolean> {
  const { verifyTime, status, connectionId } = account;
  if (status !== 'ACTIVE' || !account.reported || !connectionId || !verifyTime) return false;
  if (call.app.clock.now() - verifyTime.getTime() > BELIEVED_MS) return false;
  return read(call, async (em) => (await connectionOf(em, account))?.status === 'ACTIVE');
}

/** Makes, finishes or mends an account, each step saved before the next one. Fails as `ensureAccount` does. */
export function completeAccount(call: Call, id: string, completion: Completion): Promise<ProviderAccount> {
  const { tenantId } = call.principal;
  return holdAccount(call.app, tenantId, id, async (held) => {
    // What another one did while we waited is not done again.
    if (!completion.suspect && (await isComplete(call, held.account))) return held.account;
    const account = await provisioned(call, held, completion);
    return report(call, held, account);
  });
}

async function provisioned(call: Call, held: HeldAccount, { behaviour, instance }: Completion) {
  const connection = await read(call, (em) => connectionOf(em, held.account));
  const revoked = connection !== null && connection.status !== 'ACTIVE';
  const before = held.state.apiKey;
  if (before && (revoked || (await isDead(behaviour, instance, held.state)))) await held.save({ apiKey: '' });
  try {
    await behaviour.accounts!.provision(instance, held.state, held.save);
  } catch (error) {
    // An account that is there is of use while its provider is away.
    if (held.account.status === 'ACTIVE' && held.state.apiKey && isUnavailable(error)) return held.account;
    throw error;
  }
  return stored(call, held, { behaviour, instance, keyIsNew: held.state.apiKey !== before || !connection });
}

/** Where it cannot be found out, a key is taken to work. */
async function isDead(behaviour: ProviderBehaviour, instance: ProviderInstance, state: AccountState): Promise<boolean> {
  try {
    return behaviour.checkKey !== undefined && !(await behaviour.checkKey(instance, state));
  } catch (error) {
    if (isUnavailable(error)) return false;
    throw error;
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof LatchkeyError && isPassing(error.reason);
}

type Storing = { behaviour: ProviderBehaviour; instance: ProviderInstance; keyIsNew: boolean };

/** The account is ready, and with it its connection, in one transaction. */
async function stored(call: Call, held: HeldAccount, { behaviour, instance, keyIsNew }: Storing) {
  const { app, principal } = call;
  const { tenantId } = principal;
  const seal = await app.keyring.sealer(tenantId);
  const now = new Date(app.clock.now());
  return held.change(async (em, account) => {
    const isFirst = account.status !== 'ACTIVE';
    if (keyIsNew) {
      const credential = keyCredential(behaviour.accounts!.keyHeader, held.state.apiKey);
      const connection = await connectionOf(em, account);
      if (connection) await replaceKey(em, call, seal, connection, credential);
      else account.connectionId = await connect(em, app, seal, account, instance, credential);
      account.reported = app.userService === null || account.ownerUserId === null;
    }
    account.status = 'ACTIVE';
    account.verifyTime = now;
    account.updateTime = now;
    announce(em, { kind: 'account', tenantId, id: account.id });
    if (!isFirst && !keyIsNew) return account;
    const resource = { type: 'account', id: account.id };
    audit(em, call, isFirst ? 'account_provisioned' : 'account_key_replaced', resource, { after: account.summary() });
    const type = isFirst ? 'account.provisioned' : 'account.key_replaced';
    event(em, call, type, { ...resource, generation: account.generation }, account.summary());
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
  credential: NewConnection['credential'],
): Promise<void> {
  connection.granted([]);
  connection.changed(new Date(call.app.clock.now()));
  await storeCredential(em, call, seal, connection, credential);
  const { tenantId, id, version } = connection;
  audit(em, call, 'connection_updated', { type: 'connection', id }, { after: connection.summary() });
  event(em, call, 'connection.updated', { type: 'connection', id, generation: version }, connection.summary());
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
    ...{ name: `${provider} ${accountId}`, displayName: account.username, projectId: null, provider, credential },
    ...{ ownerUserId: account.ownerUserId, baseUrl, integrationId, enabled: true, isDefault: false },
    ...{ defaultHeaders: {}, timeoutMs: 60_000, retries: 2, backoffMs: 250, labels: {}, metadata: {}, config: {} },
    ...{ providerAccountId: remoteId, providerAccountEmail: '', providerAccountMetadata: {} },
    webhookSignatureSecret: null,
  });
  return connection.id;
}

/** The user-service is told of what it does not know. */
async function report(call: Call, held: HeldAccount, account: ProviderAccount): Promise<ProviderAccount> {
  const { userService } = call.app;
  const { ownerUserId, reported } = account;
  if (reported || !userService || !ownerUserId) return account;
  const { username, password, apiKey, remoteId: langflowUserId } = held.state;
  await userService.keep(await subjectOf(call.app, account.tenantId, ownerUserId), {
    username,
    password,
    apiKey,
    langflowUserId,
  });
  return held.change(async (_, mine) => {
    mine.reported = true;
    return mine;
  });
}

function connectionOf(em: Em, { tenantId, connectionId }: ProviderAccount): Promise<Connection | null> {
  return connectionId ? em.findOne(Connection, { tenantId, id: connectionId }) : Promise.resolve(null);
}
