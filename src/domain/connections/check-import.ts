import { LatchkeyError } from '../../base/error.ts';
import { oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { Integration } from '../../model/integration.ts';
import { namesIn } from '../../providers/template.ts';
import type { App, Call } from '../call.ts';
import { checkConnectionFields } from './connection-input.ts';
import type { LegacyConnection } from './legacy-connection.ts';
import type { Remark } from './legacy-document.ts';
import { checkCredential, integrationFor } from './provider-rules.ts';

/** What is to become of a document. */
export type ImportPlan = {
  legacy: LegacyConnection;
  action: 'WOULD_CREATE' | 'SKIPPED' | 'FAILED';
  /** What is wrong where it FAILED, else what its owner should know. */
  remarks: Remark[];
  provider: string;
  /** Whose the grant is. */
  integration: Integration | null;
};

/** Names that connections have, by project. */
export type TakenNames = Set<string>;

/** The names of these documents that are taken. */
export async function namesTaken(em: Em, call: Call, read: readonly LegacyConnection[]): Promise<TakenNames> {
  const named = oneOf('name', [...new Set(read.map(({ fields }) => fields.name))]);
  const rows = await em.execute<{ project_id: string | null; name: string }[]>(
    `select project_id, name from latchkey.connection where tenant_id = ? and ${named.sql}`,
    [call.principal.tenantId, ...named.params],
  );
  return new Set(rows.map((row) => nameKey(row.project_id, row.name)));
}

/** Finds all that is wrong with a document. A name that it gets is taken for those after it. Fails with PERMISSION_MISSING. */
export async function checkImport(
  em: Em,
  call: Call,
  legacy: LegacyConnection,
  taken: TakenNames,
  skipTaken: boolean,
): Promise<ImportPlan> {
  const { fields, credential } = legacy;
  const key = nameKey(fields.projectId, fields.name);
  const isTaken = taken.has(key);
  if (fields.name) taken.add(key);
  const { provider, integration } = await grantOf(em, call, legacy);
  const plan = { legacy, provider, integration };
  if (isTaken && skipTaken)
    return { ...plan, action: 'SKIPPED', remarks: [{ field: 'name', message: 'another connection has it' }] };
  const faults = [...legacy.faults];
  if (isTaken) faults.push({ field: 'name', message: 'another connection of the project, or document, has it' });
  faults.push(...(await faultsOf(() => checkConnectionFields(fields))));
  if (credential) {
    const given = { integrationId: integration?.id ?? null, provider, credential };
    // It would say once more what is wrong with the document itself.
    if (legacy.faults.length === 0) faults.push(...(await faultsOf(() => integrationFor(em, call, given))));
    faults.push(...(await faultsOf(() => checkCredential(em, call, provider, credential))));
    faults.push(...(await missingSecrets(em, call, legacy)));
  }
  if (faults.length > 0) return { ...plan, action: 'FAILED', remarks: faults };
  const notes = [...legacy.notes];
  if (credential?.fields.refreshable && !integration)
    notes.push({
      field: 'oauthState',
      message: 'nothing renews its tokens: its provider has no integration that is enabled',
    });
  return { ...plan, action: 'WOULD_CREATE', remarks: notes };
}

/** Which provider and integration a grant belongs to: the newest enabled integration of a provider with that token endpoint. */
async function grantOf(em: Em, call: Call, { fields, tokenUrl }: LegacyConnection) {
  if (!tokenUrl) return { provider: fields.provider, integration: null };
  const candidates = fields.provider ? [fields.provider] : providersWith(call.app, tokenUrl);
  const [integration = null] = await em.find(
    Integration,
    { tenantId: call.principal.tenantId, provider: { $in: candidates }, enabled: true },
    { orderBy: { id: 'desc' }, limit: 1 },
  );
  const only = candidates.length === 1 ? candidates[0]! : '';
  return { provider: integration?.provider ?? only, integration };
}

function providersWith({ catalog }: App, tokenUrl: string): string[] {
  const definitions = [...catalog.values()].filter(({ oauth }) => {
    const known = oauth?.tokenUrl ?? '';
    return known === tokenUrl || (namesIn(known).length > 0 && URL.parse(known)?.host === URL.parse(tokenUrl)?.host);
  });
  return definitions.map(({ name }) => name);
}

async function missingSecrets(
  em: Em,
  { principal }: Call,
  { fields, credential }: LegacyConnection,
): Promise<Remark[]> {
  const refs = Object.values(credential?.secrets ?? {}).flatMap((source) =>
    'secretRef' in source ? source.secretRef : [],
  );
  if (refs.length === 0) return [];
  if (!principal.permissions.has('secret:use'))
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'secret:use' } });
  const named = oneOf('name', refs);
  const rows = await em.execute<{ name: string }[]>(
    `select name from latchkey.secret where tenant_id = ? and (project_id is null or project_id = ?) and ${named.sql}`,
    [principal.tenantId, fields.projectId, ...named.params],
  );
  const stored = new Set(rows.map(({ name }) => name));
  const missing = refs.filter((ref) => !stored.has(ref));
  return missing.map((ref) => ({ field: 'secretRefs', message: `there is no secret ${ref}, nor is it in secrets` }));
}

/** What a check finds wrong, rather than its failure. */
async function faultsOf(check: () => unknown): Promise<Remark[]> {
  try {
    await check();
    return [];
  } catch (error) {
    if (!(error instanceof LatchkeyError) || error.reason !== 'FIELD_INVALID') throw error;
    return error.fields.map(({ field, description }) => ({ field, message: description }));
  }
}

function nameKey(projectId: string | null, name: string): string {
  return JSON.stringify([projectId, name]);
}
