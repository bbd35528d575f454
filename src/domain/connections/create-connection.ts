import { newId } from '../../base/id.ts';
import type { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import { type CheckSchedule, Connection, type HttpCheck, webhookSecretPlace } from '../../model/connection.ts';
import type { JsonObject } from '../../model/json.ts';
import { refuseForeignProject } from '../access/projects.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { once } from '../once.ts';
import { refuseUnlessMayCheck, scheduleChecks } from './check-schedule.ts';
import { claimDefault } from './claim-default.ts';
import { checkConnectionFields, flushNamed } from './connection-input.ts';
import { type ConnectionView, viewOf } from './connection-view.ts';
import { findConnection } from './find-connection.ts';
import { ownerFor, refuseUnknownUser } from './owner.ts';
import { checkCredential, integrationFor, overHeaders, requestDefaults } from './provider-rules.ts';
import { refuseOverLimit } from './refuse-over-limit.ts';
import { type CredentialInput, storeCredential } from './store-credential.ts';

export type NewConnection = {
  name: string;
  displayName: string;
  projectId: string | null;
  ownerUserId: string | null;
  provider: string;
  credential: CredentialInput;
  baseUrl: string;
  /** Hosts beside that of the base URL, in lower case. */
  allowedHosts: string[];
  defaultHeaders: Record<string, string>;
  timeoutMs: number;
  retries: number;
  backoffMs: number;
  isDefault: boolean;
  labels: Record<string, string>;
  metadata: JsonObject;
  config: JsonObject;
  providerAccountId: string;
  providerAccountEmail: string;
  providerAccountMetadata: JsonObject;
  webhookSignatureSecret: SecretText | null;
  enabled: boolean;
  /** The integration that its tokens belong to. */
  integrationId: string | null;
  /** Null: it is checked as its provider or its kind has it. */
  httpCheck: HttpCheck | null;
  checkSchedule: CheckSchedule;
  failureThreshold: number;
  recoveryThreshold: number;
};

/** Checks of a connection about which nothing was said. */
export const DEFAULT_CHECKS: Pick<
  NewConnection,
  'httpCheck' | 'checkSchedule' | 'failureThreshold' | 'recoveryThreshold'
> = { httpCheck: null, checkSchedule: 'OFF', failureThreshold: 3, recoveryThreshold: 2 };

/** A create request: `content` is what it says, to tell a repeat from another request under the same id. */
export type CreateRequest = { requestId: string; content: string };

/** Stores a connection. Fails with CONNECTION_NAME_TAKEN, CONNECTION_LIMIT_REACHED, SECRET_MISSING, USER_NOT_FOUND, INTEGRATION_NOT_FOUND, PERMISSION_MISSING, FIELD_INVALID, REQUEST_ID_REUSED. */
export async function createConnection(
  call: Call,
  input: NewConnection,
  request: CreateRequest,
): Promise<ConnectionView> {
  const { app, principal } = call;
  const { tenantId } = principal;
  checkConnectionFields(input);
  refuseForeignProject(principal, input.projectId);
  const ownerUserId = ownerFor(call, input.ownerUserId);
  refuseUnlessMayCheck(call, { ownerUserId, projectId: input.projectId }, input);
  const id = newId('conn', app.clock.now());
  const seal = await app.keyring.sealer(tenantId);
  return change(call, async (em) => {
    await refuseUnknownUser(em, tenantId, ownerUserId);
    const integration = await integrationFor(em, call, input);
    const provider = integration?.provider ?? input.provider;
    await checkCredential(em, call, provider, input.credential);
    return once(em, call, { method: 'CreateConnection', ...request }, id, {
      async make() {
        // Imported tokens that can be renewed are renewed when they end.
        const { credential } = input;
        const refreshDue = integration && credential.fields.refreshable === true ? credential.expireTime : null;
        const of = { id, ownerUserId, provider };
        const defaults = await requestDefaults(em, call, provider, credential);
        const baseUrl = input.baseUrl || defaults.baseUrl;
        const defaultHeaders = overHeaders(defaults.headers, input.defaultHeaders);
        return viewOf(
          em,
          await addConnection(em, call, seal, of, {
            ...input,
            baseUrl,
            defaultHeaders,
            credential: { ...credential, refreshDue },
          }),
        );
      },
      repeat: async (made) => viewOf(em, await findConnection(em, call, made, 'connection:create')),
    });
  });
}

/** Adds a connection whose owner and provider have been checked, with its credential. Fails with CONNECTION_NAME_TAKEN, CONNECTION_LIMIT_REACHED, SECRET_MISSING, PERMISSION_MISSING. */
export async function addConnection(
  em: Em,
  call: Call,
  seal: Sealer,
  { id, ownerUserId, provider }: { id: string; ownerUserId: string | null; provider: string },
  { credential, webhookSignatureSecret, ...fields }: NewConnection,
): Promise<Connection> {
  const { tenantId } = call.principal;
  const { kind, scopes = [] } = credential;
  const now = new Date(call.app.clock.now());
  if (fields.isDefault) await claimDefault(em, call, { id, projectId: fields.projectId, ownerUserId }, kind);
  const connection = em.create(Connection, {
    ...fields,
    ...{ tenantId, id, ownerUserId, kind, provider, displayName: fields.displayName || fields.name, version: 1 },
    ...{ status: 'ACTIVE' as const, statusReason: '', requestedScopes: scopes, grantedScopes: scopes },
    ...{ missingScopes: [], previousWebhookSecret: null, previousWebhookSecretExpireTime: null },
    ...{ lastTestedAt: null, lastUsedAt: null, createTime: now, updateTime: now },
    webhookSignatureSecret:
      webhookSignatureSecret && seal(webhookSecretPlace(tenantId, id), Buffer.from(webhookSignatureSecret.reveal())),
  });
  await flushNamed(em, fields.name);
  await refuseOverLimit(em, call);
  await storeCredential(em, call, seal, connection, credential);
  if (connection.checkSchedule !== 'OFF') await scheduleChecks(em, connection);
  const resource = { type: 'connection', id };
  audit(em, call, 'connection_created', resource, { after: connection.summary() });
  event(em, call, 'connection.created', connection.aggregate(), connection.summary());
  return connection;
}
