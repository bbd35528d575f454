import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import { Connection } from '../../model/connection.ts';
import type { JsonObject } from '../../model/json.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { checkImport, type ImportPlan, namesTaken } from './check-import.ts';
import { flushNamed } from './connection-input.ts';
import { addConnection } from './create-connection.ts';
import { readLegacyConnection } from './legacy-connection.ts';
import type { Remark } from './legacy-document.ts';
import { overHeaders, requestDefaults } from './provider-rules.ts';
import { refuseOverLimit } from './refuse-over-limit.ts';

export type ImportAction = 'CREATED' | 'WOULD_CREATE' | 'SKIPPED' | 'FAILED';
/** What became of one document. */
export type ImportRow = { name: string; action: ImportAction; remarks: Remark[]; connectionId: string };
export type ImportRequest = {
  documents: readonly JsonObject[];
  dryRun: boolean;
  /** Where a name is taken: pass the document over, rather than fail. */
  skipTaken: boolean;
  /** Of documents that name none. */
  projectId: string | null;
};

/**
 * Makes connections of another system's documents: of all, or of none where one is wrong.
 * Fails with PERMISSION_MISSING, CONNECTION_LIMIT_REACHED where they would be too many, and CONNECTION_NAME_TAKEN where a name is taken meanwhile.
 */
export async function importConnections(call: Call, request: ImportRequest): Promise<ImportRow[]> {
  refuseUnlessForAll(call);
  const read = request.documents.map((document) => readLegacyConnection(document, request.projectId));
  const seal = await call.app.keyring.sealer(call.principal.tenantId);
  return change(call, async (em) => {
    const taken = await namesTaken(em, call, read);
    const plans: ImportPlan[] = [];
    for (const legacy of read) plans.push(await checkImport(em, call, legacy, taken, request.skipTaken));
    const creates = !request.dryRun && plans.every(({ action }) => action !== 'FAILED');
    const rows: ImportRow[] = [];
    for (const plan of plans) {
      const creating = creates && plan.action === 'WOULD_CREATE';
      const connectionId = creating ? await add(em, call, seal, plan) : '';
      rows.push({
        ...{ name: plan.legacy.fields.name, remarks: plan.remarks, connectionId },
        action: creating ? 'CREATED' : plan.action,
      });
    }
    return rows;
  });
}

/** What is imported belongs to the tenant, not to who imports it. */
function refuseUnlessForAll({ principal }: Call): void {
  const { administrator, kind, userId, projectIds, permissions } = principal;
  const wholeTenant = administrator || (kind === 'api_key' && userId === null && projectIds === null);
  if (wholeTenant && permissions.has('connection:create')) return;
  throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'connection:create' } });
}

/** Answers the id of the new connection. */
async function add(em: Em, call: Call, seal: Sealer, { legacy, provider, integration }: ImportPlan): Promise<string> {
  const { credential } = legacy;
  const id = newId('conn', call.app.clock.now());
  const defaults = await requestDefaults(em, call, provider, credential);
  const requests = {
    baseUrl: legacy.fields.baseUrl || defaults.baseUrl,
    defaultHeaders: overHeaders(defaults.headers, legacy.fields.defaultHeaders),
  };
  const fields = { ...legacy.fields, ...requests, provider, integrationId: integration?.id ?? null };
  if (credential) {
    const refreshDue = integration && credential.fields.refreshable === true ? credential.expireTime : null;
    const of = { id, ownerUserId: null, provider };
    await addConnection(em, call, seal, of, { ...fields, credential: { ...credential, refreshDue } });
  } else await addPending(em, call, id, fields, legacy.scopes);
  // Else each flush would look through all that was written before.
  await em.flush();
  em.clear();
  return id;
}

/** One that a person must grant access to. */
async function addPending(
  em: Em,
  call: Call,
  id: string,
  fields: ImportPlan['legacy']['fields'],
  scopes: string[],
): Promise<void> {
  const now = new Date(call.app.clock.now());
  const connection = em.create(Connection, {
    ...{ ...fields, tenantId: call.principal.tenantId, id, displayName: fields.name },
    ...{ webhookSignatureSecret: null, previousWebhookSecret: null, previousWebhookSecretExpireTime: null },
    ...{ kind: 'oauth2' as const, status: 'PENDING' as const, statusReason: 'pending', version: 1 },
    ...{ requestedScopes: scopes, grantedScopes: [], missingScopes: [] },
    ...{ lastTestedAt: null, lastUsedAt: null, createTime: now, updateTime: now },
  });
  await flushNamed(em, fields.name);
  await refuseOverLimit(em, call);
  const resource = { type: 'connection', id };
  audit(em, call, 'connection_created', resource, { after: connection.summary() });
  event(em, call, 'connection.created', connection.aggregate(), connection.summary());
}
