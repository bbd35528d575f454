import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import { BenchProcess } from './process.ts';
import { clientsTo, importTokens, integration, lossWindowP99Ms } from './refreshing.ts';

const DUE = 10_000;
const out = (text: string) => process.stdout.write(`${text}\n`);

type Env = Record<string, string> & { DATABASE_MIGRATION_URL: string };

/** Refreshes a second, against an endpoint that answers in 50 ms. */
export async function refreshBench(env: Env): Promise<void> {
  out(`\n${DUE.toLocaleString('en')} refreshes that are due, a token endpoint that answers in 50 ms`);
  const endpoint = await BenchProcess.ready('test/bench/token-endpoint.ts', {});
  const database = new Client({ connectionString: env.DATABASE_MIGRATION_URL });
  await database.connect();
  const quiet = { ...env, SANDBOX: 'off', REFRESH_SWEEP_MS: '60000' };
  const first = await BenchProcess.ready(['src/cli.ts', 'serve'], quiet);
  const clients = clientsTo(first);
  const fast = await integration(clients, 'fast', endpoint, '/token');
  for (let i = 0; i < DUE; i += 100)
    await Promise.all(Array.from({ length: 100 }, (_, j) => importTokens(clients, fast, `fast-${i + j}`)));
  await first.stop();
  let baseline = 0;
  for (const replicas of [1, 2]) {
    const rate = await sweep(database, { ...env, SANDBOX: 'off', REFRESH_SWEEP_MS: '200' }, replicas);
    baseline ||= rate.perSecond;
    out(
      `  ${replicas} ${replicas === 1 ? 'replica ' : 'replicas'} ${rate.perSecond.toFixed(0).padStart(6)} refreshes/s   ratio ${(rate.perSecond / baseline).toFixed(2)}   ${rate.transactions.toFixed(1)} database transactions each, answer parsed to stored p99 <= ${rate.lossWindowMs} ms (to reach: 10)`,
    );
  }
  await database.end();
  await endpoint.stop();
}

async function sweep(database: Client, env: Env, replicas: number) {
  const servers: BenchProcess[] = [];
  for (let i = 0; i < replicas; i++) servers.push(await BenchProcess.ready(['src/cli.ts', 'serve'], env));
  const transactions = async () => {
    await database.query('select pg_stat_clear_snapshot(), pg_stat_force_next_flush()');
    const { rows } = await database.query(
      'select xact_commit from pg_stat_database where datname = current_database()',
    );
    return Number(rows[0].xact_commit);
  };
  const [before, start] = [await transactions(), performance.now()];
  await database.query(`update latchkey.connection set last_used_at = now() where name like 'fast-%'`);
  await database.query(
    `update latchkey.credential k set refresh_due = now(), refresh_time = null, refresh_not_before = null from latchkey.connection c
     where c.tenant_id = k.tenant_id and c.id = k.connection_id and c.name like 'fast-%'`,
  );
  for (let left = DUE; left > 0; await pause(100)) {
    const { rows } = await database.query(
      `select count(*) as left from latchkey.credential k join latchkey.connection c on c.tenant_id = k.tenant_id and c.id = k.connection_id
       where c.name like 'fast-%' and k.refresh_time is null`,
    );
    left = Number(rows[0].left);
  }
  const seconds = (performance.now() - start) / 1000;
  const lossWindowMs = Math.max(...(await Promise.all(servers.map(lossWindowP99Ms))));
  for (const server of servers) await server.stop();
  return { perSecond: DUE / seconds, lossWindowMs, transactions: ((await transactions()) - before) / DUE };
}
