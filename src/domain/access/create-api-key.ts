import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { SecretText } from '../../base/secret-text.ts';
import { sha256 } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import { ApiKey } from '../../model/api-key.ts';
import { type StoredRate, Tenant } from '../../model/tenant.ts';
import { audit } from '../audit/audit.ts';
import type { ToolCall } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { once } from '../once.ts';
import { apiKeyText } from './api-key-text.ts';
import { callRates } from './call-rates.ts';
import { callIn, refuseDeletedTenant, tenantNotFound } from './ensure-tenant.ts';
import { expandScopes } from './permissions.ts';

export type NewApiKey = {
  displayName: string;
  scopes: string[];
  projectIds: string[];
  expireTime: Date | null;
  /** Empty: the caller's. */
  tenantId: string;
  /** Null: as for each caller of the tenant. */
  rateLimit: StoredRate | null;
  requestId: string;
};

/** A key, and its text where it was made just now. */
export type CreatedApiKey = { apiKey: ApiKey; text: SecretText | null };

/** Makes an API key. Fails with PERMISSION_MISSING where it would exceed the caller, TENANT_NOT_FOUND, TENANT_DELETED, REQUEST_ID_REUSED. */
export function createApiKey(call: ToolCall, input: NewApiKey): Promise<CreatedApiKey> {
  const now = new Date(call.app.clock.now());
  if (input.expireTime && input.expireTime <= now) throw fieldInvalid('expire_time', 'must be in the future');
  const projectIds = projectsWithin(call, input.projectIds);
  refuseMoreThanOwn(call, input.scopes, projectIds);
  const within = callInTenantOf(call, input.tenantId);
  const { tenantId } = within.principal;
  const id = newId('key', now.getTime());
  const content = JSON.stringify([input.displayName, input.scopes, projectIds, input.expireTime, input.rateLimit]);
  return change(within, async (em) => {
    refuseHigherRate(call, await tenantOf(em, tenantId), input.rateLimit);
    const creatorUserId = await makerOf(em, call);
    return once<CreatedApiKey>(em, within, { method: 'CreateApiKey', requestId: input.requestId, content }, id, {
      async make() {
        const text = apiKeyText(id);
        const { displayName, scopes, expireTime, rateLimit } = input;
        const apiKey = em.create(ApiKey, {
          ...{ tenantId, id, displayName, scopes, projectIds, expireTime, rateLimit },
          ...{ hash: sha256(text), operator: false, createTime: now, revokeTime: null },
          creatorUserId,
        });
        const resource = { type: 'api_key', id };
        audit(em, within, 'api_key_created', resource, { after: apiKey.summary() });
        event(em, within, 'api_key.created', { ...resource, generation: 1 }, { display_name: displayName });
        return { apiKey, text: new SecretText(text) };
      },
      async repeat(existing) {
        return { apiKey: await em.findOneOrFail(ApiKey, { tenantId, id: existing }), text: null };
      },
    });
  });
}

/**
 * The user who makes a key, or made the key that makes it, and so knows its text: it ends with them. Empty: nobody. Held until the end of the transaction, so that who
 * is deleted meanwhile leaves none behind. Fails with CREDENTIALS_INVALID where they are deleted.
 */
async function makerOf(em: Em, { principal }: ToolCall): Promise<string> {
  const { tenantId, kind, id, userId } = principal;
  if (kind === 'system') return '';
  const own = kind === 'api_key' && !userId ? await em.findOne(ApiKey, { tenantId, id }) : null;
  const maker = userId ?? own?.creatorUserId ?? '';
  if (maker === '') return '';
  const [user] = await em.execute<object[]>(
    'select 1 from latchkey.app_user where tenant_id = ? and id = ? and delete_time is null for key share',
    [tenantId, maker],
  );
  if (!user) throw new LatchkeyError('CREDENTIALS_INVALID');
  return maker;
}

/** The operator may make keys in any tenant; for others a foreign tenant does not exist. */
function callInTenantOf(call: ToolCall, tenantId: string): ToolCall {
  if (!tenantId || tenantId === call.principal.tenantId) return call;
  if (!call.principal.permissions.has('tenant:manage')) throw tenantNotFound(tenantId);
  return callIn(call, tenantId);
}

async function tenantOf(em: Em, tenantId: string): Promise<Tenant> {
  const tenant = await em.findOne(Tenant, { tenantId });
  if (!tenant) throw tenantNotFound(tenantId);
  await refuseDeletedTenant(em, tenantId);
  return tenant;
}

/** Only the operator gives a key more calls than each caller of its tenant may make. */
function refuseHigherRate({ app, principal }: ToolCall, { limits }: Tenant, wanted: StoredRate | null): void {
  if (!wanted || principal.permissions.has('tenant:manage')) return;
  const most = callRates(app, limits, null)?.caller;
  const rate = callRates(app, limits, wanted)?.caller;
  if (!most || (rate && rate.perSecond <= most.perSecond && rate.burst <= most.burst)) return;
  throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'tenant:manage' } });
}

/** A key may do no more than who makes it. */
function refuseMoreThanOwn(call: ToolCall, scopes: string[], projectIds: string[]): void {
  const wanted = expandScopes(scopes);
  if (wanted.length === 0) throw fieldInvalid('scopes', 'names no permission that exists');
  for (const scope of scopes)
    if (expandScopes([scope]).length === 0) throw fieldInvalid('scopes', `there is no permission ${scope}`);
  if (scopes.includes('tenant:manage')) throw fieldInvalid('scopes', 'tenant:manage belongs to the operator');
  const missing = wanted.find((permission) => !call.principal.permissions.has(permission));
  if (missing) throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: missing } });
  const administrates = scopes.includes('*') && projectIds.length === 0;
  if (administrates && !call.principal.administrator) {
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: '*' } });
  }
}

function projectsWithin(call: ToolCall, projectIds: string[]): string[] {
  const limit = call.principal.projectIds;
  if (!limit) return projectIds;
  if (limit.length === 0) throw fieldInvalid('project_ids', 'the caller has no projects to give');
  const beyond = projectIds.find((project) => !limit.includes(project));
  if (beyond !== undefined) throw fieldInvalid('project_ids', 'names a project that is not the caller’s');
  return projectIds.length > 0 ? projectIds : [...limit];
}
