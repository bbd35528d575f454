import { allOf } from '../../db/paging.ts';
import { AuditEntry } from '../../model/audit-entry.ts';
import type { JsonObject } from '../../model/json.ts';
import type { App, Call } from '../call.ts';
import { change, read } from '../change.ts';
import { audit } from './audit.ts';
import { type AuditFilter, kindConditions, selectiveConditions, timeConditions } from './audit-filter.ts';
import { type ChainHead, readHead } from './chain-head.ts';
import { sealEntries } from './seal-entries.ts';

/** Entries looked at for a page: small ones, because a transaction lasts as long as one, and memory holds one. */
const EXAMINED = 500;
/** Times that a sealer may come first; then what is sealed by now has to do. */
const MOST_LOST = 100;

export type ExportPage = {
  entries: { sequence: number; entry: AuditEntry }[];
  /** Sequence up to which the chain has been looked through. */
  reached: number;
};

/** Records that the log is exported, and seals what there is: the head that is answered covers all that committed before, this record too. */
export async function beginAuditExport(call: Call, filter: AuditFilter, after: number): Promise<ChainHead> {
  const { tenantId } = call.principal;
  const asked = JSON.parse(JSON.stringify({ filter: given(filter), after_sequence: after })) as JsonObject;
  await change(call, async (em) =>
    audit(em, call, 'audit_exported', { type: 'audit', id: tenantId }, { after: asked }),
  );
  await sealAll(call.app, tenantId);
  return readHead(call.app.pool, tenantId);
}

/** Entries after a sequence that match, in the order of the chain, each page of a transaction of its own. */
export async function exportPage(call: Call, filter: AuditFilter, after: number, head: ChainHead): Promise<ExportPage> {
  const { tenantId } = call.principal;
  const conditions = [...selectiveConditions(filter), ...kindConditions(filter), ...timeConditions(filter)];
  const matches = conditions.length > 0 ? `and ${allOf(conditions)}` : '';
  const reached = Math.min(after + EXAMINED, head.sequence);
  return read(call, async (em) => {
    const rows = await em.execute<{ sequence: string }[]>(
      `select s.first_sequence + u.place - 1 as sequence, e.*
         from latchkey.audit_seal s cross join lateral unnest(s.entry_ids) with ordinality u(entry_id, place)
         join lateral (select * from latchkey.audit_entry where tenant_id = ? and id = u.entry_id ${matches}) e on true
        where s.tenant_id = ? and s.first_sequence <= ?
          and s.first_sequence >= (select coalesce(max(b.first_sequence), 1) from latchkey.audit_seal b where b.tenant_id = ? and b.first_sequence <= ?)
          and s.first_sequence + u.place - 1 between ? and ?
        order by 1`,
      [
        ...[tenantId, ...conditions.flatMap(({ params }) => params)],
        ...[tenantId, reached, tenantId, after + 1, after + 1, reached],
      ],
    );
    const entries = rows.map(({ sequence, ...row }) => ({
      sequence: Number(sequence),
      entry: em.map(AuditEntry, row),
    }));
    return { entries, reached };
  });
}

/** Those filters that are set. */
function given(filter: AuditFilter): object {
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value));
}

async function sealAll(app: App, tenantId: string): Promise<void> {
  for (let lost = 0; lost < MOST_LOST; ) {
    const outcome = await sealEntries(app, tenantId);
    if (outcome === 'none') return;
    if (outcome === 'lost') lost += 1;
  }
}
