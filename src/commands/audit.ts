import type { Pool } from 'pg';
import { StartError } from '../base/error.ts';
import { openLog } from '../base/log.ts';
import { openInstallation } from '../db/installation.ts';
import { openPool } from '../db/pool.ts';
import { tenantIds } from '../db/tenants.ts';
import { auditKeysOf } from '../domain/audit/audit-id.ts';
import { headText, parseHead, readHead } from '../domain/audit/chain-head.ts';
import { type ChainReport, verifyChain } from '../domain/audit/verify-chain.ts';
import type { AuditKeys } from '../domain/call.ts';
import { UsageError } from './failure.ts';
import { besideServers } from './installation.ts';
import { Progress, print, printJson } from './output.ts';

type Options = { tenant?: string; json?: boolean };

/** Prints where the chain of each tenant ends. */
export function printHeads({ tenant, json }: Options): Promise<void> {
  return withAudit(async (pool) => {
    const heads = [];
    for (const tenantId of await tenantsOf(pool, tenant, [])) {
      const head = await readHead(pool, tenantId);
      if (head.sequence > 0) heads.push({ tenantId, ...head });
    }
    if (json) printJson(heads);
    else for (const head of heads) print(headText(head.tenantId, head));
  });
}

/** Proves the chains, against heads that were kept where they are given. Exit code 1: something is amiss. */
export function verify({ tenant, head = [], json }: Options & { head?: string[] }): Promise<void> {
  const heads = head.map(headOf);
  const named = heads.map(({ tenantId }) => tenantId);
  return withAudit(async (pool, keys) => {
    const reports: ChainReport[] = [];
    const progress = new Progress();
    const client = await pool.connect();
    try {
      const tenants = await tenantsOf(pool, tenant, named);
      for (const [at, tenantId] of tenants.entries()) {
        progress.step(`tenant ${at + 1} of ${tenants.length}`);
        const own = heads.filter((kept) => kept.tenantId === tenantId);
        reports.push(await verifyChain(client, keys, tenantId, own));
      }
    } finally {
      progress.clear();
      client.release();
    }
    if (reports.some(({ faults }) => faults.length > 0)) process.exitCode = 1;
    if (json) printJson(reports);
    else for (const report of reports) print(textOf(report));
  });
}

function withAudit(work: (pool: Pool, keys: AuditKeys) => Promise<void>): Promise<void> {
  return besideServers(async ({ databaseUrl, masterKeys }) => {
    const { log } = await openLog('silent', false);
    const pool = openPool(log, 'the connection was lost', {
      connectionString: databaseUrl,
      max: 2,
      application_name: 'latchkey-audit',
    });
    try {
      const { secret } = await openInstallation(pool, masterKeys);
      await work(pool, auditKeysOf(secret));
    } finally {
      await pool.end();
    }
  });
}

/** The tenant that was asked for, or all: those that there are and those that heads were kept of. Throws StartError. */
async function tenantsOf(pool: Pool, tenant: string | undefined, named: readonly string[]): Promise<string[]> {
  const all = new Set([...(await Array.fromAsync(tenantIds(pool))), ...named]);
  if (tenant === undefined) return [...all];
  if (!all.has(tenant)) throw new StartError(`There is no tenant ${tenant}.`);
  return [tenant];
}

function headOf(text: string) {
  const head = parseHead(text);
  if (head) return head;
  throw new UsageError(`${text} is no head: it is tenant:sequence:hash, as \`latchkey audit head\` prints it.`);
}

function textOf({ tenantId, head, adopted, unsealed, faults }: ChainReport): string {
  const lines = [
    `tenant ${tenantId}: ${head.sequence} entries are sealed, ${faults.length === 0 ? 'none amiss' : 'NOT as they were'}`,
  ];
  lines.push(`  head ${headText(tenantId, head)}`);
  if (adopted > 0) lines.push(`  ${adopted} of them are older than the chain, and sealed as they were found`);
  if (unsealed.entries > 0)
    lines.push(`  ${unsealed.entries} more wait to be sealed, the oldest for ${unsealed.oldestS.toFixed(1)} s`);
  for (const { sequence, entryId, what, detail } of faults)
    lines.push(`  ${what.toUpperCase()} ${sequence === null ? '' : `at ${sequence} `}${entryId}: ${detail}`);
  return lines.join('\n');
}
