import { parseArgs } from 'node:util';
import type { Pool } from 'pg';
import { StartError } from './base/error.ts';
import { openLog } from './base/log.ts';
import { readConfig } from './config.ts';
import { MasterKeys } from './crypto/master-keys.ts';
import { joinEmbeddedPostgres } from './db/embedded.ts';
import { openInstallation } from './db/installation.ts';
import { openPool } from './db/pool.ts';
import { tenantIds } from './db/tenants.ts';
import { auditKeysOf } from './domain/audit/audit-id.ts';
import { headText, parseHead, readHead } from './domain/audit/chain-head.ts';
import { type ChainReport, verifyChain } from './domain/audit/verify-chain.ts';
import type { AuditKeys } from './domain/call.ts';
import { masterKeyFile } from './master-key-file.ts';
import { startFailure } from './prepare.ts';

const USAGE = `Usage: npm run audit -- verify [--tenant ID] [--head HEAD]... [--json]
       npm run audit -- head [--tenant ID]

  verify   proves the audit log of each tenant, and names what was altered, removed, inserted or reordered;
           ends with 1 where something was. --head: that the log still has what it had when HEAD was printed
  head     prints where the chain of each tenant ends, as tenant:sequence:hash. Kept elsewhere, it shows
           that the end of a log was cut off

Reads the same settings as the server.
`;

type Options = { tenant?: string; head?: string[]; json?: boolean };

const COMMANDS = { verify, head: printHeads };

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(args: string[]): Promise<void> {
  const { command, options } = commandOf(args);
  if (!command) {
    process.stdout.write(USAGE);
    process.exitCode = args.length === 0 || args[0] === '--help' ? 0 : 2;
    return;
  }
  const config = readConfig();
  const embedded = config.database.url ? null : await joinEmbeddedPostgres(config.dataDir);
  const { log } = await openLog('silent', false);
  const connectionString = embedded?.url ?? config.database.url;
  const pool = openPool(log, 'the connection was lost', {
    connectionString,
    max: 2,
    application_name: 'latchkey-audit',
  });
  try {
    const master = config.keys.master ?? masterKeyFile(config.dataDir).key;
    const { secret } = await openInstallation(pool, new MasterKeys(master, config.keys.previousMaster));
    await COMMANDS[command]({ pool, keys: auditKeysOf(secret), options });
  } finally {
    await pool.end();
    await embedded?.stop();
  }
}

function commandOf(args: string[]): { command: keyof typeof COMMANDS | null; options: Options } {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { tenant: { type: 'string' }, head: { type: 'string', multiple: true }, json: { type: 'boolean' } },
    });
    const [command] = positionals;
    const known = positionals.length === 1 && (command === 'verify' || command === 'head');
    return { command: known ? command : null, options: { ...values } };
  } catch {
    return { command: null, options: {} };
  }
}

type Asked = { pool: Pool; keys: AuditKeys; options: Options };

async function printHeads({ pool, options }: Asked): Promise<void> {
  for (const tenantId of await tenantsOf(pool, options, [])) {
    const head = await readHead(pool, tenantId);
    if (head.sequence > 0) print(headText(tenantId, head));
  }
}

async function verify({ pool, keys, options }: Asked): Promise<void> {
  const heads = (options.head ?? []).map(headOf);
  const named = heads.map(({ tenantId }) => tenantId);
  const reports: ChainReport[] = [];
  const client = await pool.connect();
  try {
    for (const tenantId of await tenantsOf(pool, options, named)) {
      const own = heads.filter((head) => head.tenantId === tenantId);
      const report = await verifyChain(client, keys, tenantId, own);
      if (report.faults.length > 0) process.exitCode = 1;
      if (options.json) reports.push(report);
      else print(textOf(report));
    }
  } finally {
    client.release();
  }
  if (options.json) print(JSON.stringify(reports, null, 2));
}

/** The tenant that was asked for, or all: those that there are and those that heads were kept of. Throws StartError. */
async function tenantsOf(pool: Pool, { tenant }: Options, named: readonly string[]): Promise<string[]> {
  const all = new Set([...(await Array.fromAsync(tenantIds(pool))), ...named]);
  if (tenant === undefined) return [...all];
  if (!all.has(tenant)) throw new StartError(`There is no tenant ${tenant}.`);
  return [tenant];
}

function headOf(text: string) {
  const head = parseHead(text);
  if (head) return head;
  throw new StartError(`${text} is no head: it is tenant:sequence:hash, as \`npm run audit -- head\` prints it.`);
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

await main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${startFailure(error)}\n`);
  process.exitCode = 1;
});
