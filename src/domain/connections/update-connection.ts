import { fieldInvalid } from '../../base/error.ts';
import type { SecretText } from '../../base/secret-text.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { refuseUnlessMayCheck, scheduleChecks } from './check-schedule.ts';
import { claimDefault } from './claim-default.ts';
import { checkConnectionFields, flushNamed } from './connection-input.ts';
import { type ConnectionView, viewOf } from './connection-view.ts';
import type { NewConnection } from './create-connection.ts';
import { lockConnection } from './find-connection.ts';
import { leadsElsewhere } from './hosts.ts';
import { checkCredential, integrationFor, OF_INTEGRATIONS } from './provider-rules.ts';
import { presentWebhookSecret, replaceWebhookSecret } from './replace-webhook-secret.ts';
import { type CredentialInput, storeCredential } from './store-credential.ts';
import { refuseUnlessPermitted } from './visibility.ts';

type Changeable = Omit<
  NewConnection,
  'projectId' | 'ownerUserId' | 'credential' | 'webhookSignatureSecret' | 'enabled' | 'integrationId'
>;

/** Undefined: unchanged. */
export type ConnectionPatch = { [Field in keyof Changeable]?: Changeable[Field] | undefined } & {
  credential?: CredentialInput | undefined;
  /** Null: cleared. */
  webhookSignatureSecret?: SecretText | null | undefined;
  /** For how long the secret that is replaced signs, too. */
  webhookSecretOverlapMs?: number;
};

const OVERLAP_MS = 24 * 3_600_000;

/** Changes what the patch sets. Fails with CONNECTION_NOT_FOUND, CONNECTION_NAME_TAKEN, SECRET_MISSING, ETAG_MISMATCH. */
export async function updateConnection(
  call: Call,
  id: string,
  etag: string,
  patch: ConnectionPatch,
): Promise<ConnectionView> {
  const { tenantId } = call.principal;
  checkConnectionFields(patch);
  const seal = await call.app.keyring.sealer(tenantId);
  const replacing = patch.webhookSignatureSecret !== undefined;
  const secretBefore = replacing ? await presentWebhookSecret(call.app, tenantId, id) : null;
  return change(call, async (em) => {
    const connection = await lockConnection(em, call, id, 'connection:update', etag);
    const before = connection.summary();
    const {
      credential,
      webhookSignatureSecret,
      webhookSecretOverlapMs = OVERLAP_MS,
      isDefault = connection.isDefault,
      ...fields
    } = patch;
    // Who may not read a credential may not have it sent to a host of their choice either.
    if (!credential && leadsElsewhere(connection, patch))
      refuseUnlessPermitted(call.principal, 'credential:read', connection);
    refuseUnlessMayCheck(call, connection, patch);
    const rescheduled = patch.checkSchedule !== undefined && patch.checkSchedule !== connection.checkSchedule;
    const kind = credential?.kind ?? connection.kind;
    if (isDefault && !(connection.isDefault && kind === connection.kind))
      await claimDefault(em, call, connection, kind);
    if (patch.provider !== undefined && connection.integrationId && patch.provider !== connection.provider)
      throw fieldInvalid('provider', 'is that of the integration');
    em.assign(connection, { ...present(fields), kind, isDefault });
    if (webhookSignatureSecret !== undefined) {
      const overlapEnd = webhookSecretOverlapMs > 0 ? new Date(call.app.clock.now() + webhookSecretOverlapMs) : null;
      replaceWebhookSecret(connection, seal, { secret: webhookSignatureSecret, before: secretBefore, overlapEnd });
    }
    if (credential) {
      // Only tokens belong to an integration; with another kind the connection leaves it.
      if (!OF_INTEGRATIONS.includes(kind)) connection.integrationId = null;
      await integrationFor(em, call, { ...connection, credential });
      await checkCredential(em, call, connection.provider, credential);
      connection.granted(credential.scopes ?? []);
    }
    connection.changed(new Date(call.app.clock.now()));
    await flushNamed(em, connection.name);
    if (rescheduled) await scheduleChecks(em, connection);
    if (credential) await storeCredential(em, call, seal, connection, credential);
    const resource = { type: 'connection', id };
    const after = { ...connection.summary(), credential_replaced: credential !== undefined };
    audit(em, call, 'connection_updated', resource, { before, after });
    event(em, call, 'connection.updated', connection.aggregate(), after);
    announce(em, { kind: 'connection', tenantId, id });
    return viewOf(em, connection);
  });
}

function present<T extends object>(fields: T): { [Field in keyof T]: Exclude<T[Field], undefined> } {
  const set = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(set) as { [Field in keyof T]: Exclude<T[Field], undefined> };
}
