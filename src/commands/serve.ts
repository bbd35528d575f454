import cluster from 'node:cluster';
import { publicUrlOf, type Replica, startReplica } from '../app.ts';
import { banner } from '../banner.ts';
import { type LogOutput, openLog } from '../base/log.ts';
import { type Config, readConfig } from '../config.ts';
import { prepare } from '../prepare.ts';
import { clusterMetrics, shareMetrics, tellPrimary, WorkerPool, type WorkerReady } from '../workers.ts';
import { failureText } from './failure.ts';

type Ending = { stop(): Promise<void> };

/** Start, listen, drain: as one process, or as one of the workers that it forks. The process ends with 0 when a signal asks for it, else with 1. */
export async function serve(): Promise<void> {
  await run().catch(end);
}

async function run(): Promise<void> {
  const config = readConfig();
  const output = await openLog(config.logLevel, process.stdout.isTTY && !config.production);
  const running = cluster.isWorker ? await runWorker(config, output) : await runPrimary(config, output);
  endOnSignal(config, running, output);
}

async function runPrimary(settings: Config, { log }: LogOutput): Promise<Ending> {
  const { config, notes, masterKeyPath, sandbox, stop } = await prepare(settings, log);
  try {
    const many = config.workers > 1;
    const pool = new WorkerPool(workerEnvironment(config, masterKeyPath), log);
    const running = many ? pool : await startReplica({ config, log, unfit: end });
    const ready = 'app' in running ? [readyOf(running)] : await pool.start(config.workers);
    await sandbox?.open(publicUrlOf(config, ready[0]!.httpPort));
    announce(config, notes, ready, log);
    return {
      async stop() {
        await running.stop();
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function runWorker(config: Config, { log }: LogOutput): Promise<Ending> {
  const replica = await startReplica({ config, log, unfit: end, metricsText: clusterMetrics() });
  shareMetrics(replica.app.metrics.registry);
  tellPrimary(readyOf(replica));
  return replica;
}

/** What the primary found out or made, as settings of its workers. */
function workerEnvironment(
  { database, grpcPort, httpPort, sandbox }: Config,
  masterKeyPath: string | null,
): Record<string, string> {
  return {
    DATABASE_URL: database.url,
    DATABASE_MIGRATION_URL: database.migrationUrl,
    GRPC_PORT: String(grpcPort),
    HTTP_PORT: String(httpPort),
    SANDBOX_URL: sandbox.url,
    ...(sandbox.url ? {} : { SANDBOX: 'off' }),
    ...(masterKeyPath ? { LATCHKEY_MASTER_KEY_FILE: masterKeyPath } : {}),
  };
}

function readyOf({ grpcPort, httpPort, firstAdminKey }: Replica): WorkerReady {
  return { type: 'ready', grpcPort, httpPort, firstAdminKey: firstAdminKey?.reveal() ?? null };
}

function announce(config: Config, notes: string[], ready: WorkerReady[], log: LogOutput['log']): void {
  const { grpcPort, httpPort } = ready[0]!;
  const firstAdminKey = ready.find((worker) => worker.firstAdminKey)?.firstAdminKey ?? null;
  if (!config.production) process.stdout.write(banner({ config, notes, grpcPort, httpPort, firstAdminKey }));
  log.info({ grpcPort, httpPort, workers: ready.length }, 'ready');
}

function endOnSignal(config: Config, running: Ending, output: LogOutput): void {
  let ending = false;
  const stop = (signal: string) => {
    if (ending) return;
    ending = true;
    output.log.info({ signal }, 'stopping');
    running.stop().then(
      () => leave(output, 0),
      (error) => {
        output.log.fatal({ err: error }, 'did not stop cleanly');
        leave(output, 1);
      },
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => stop(signal));
  if (config.stopsWithParent) onceOrphaned(() => stop('the npm that started it is gone'));
  process.on('uncaughtException', (error) => {
    output.log.fatal({ err: error }, 'unexpected error');
    leave(output, 1);
  });
}

const PARENT_CHECK_MS = 500;

function onceOrphaned(act: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid !== parent) act();
  }, PARENT_CHECK_MS);
  timer.unref();
}

function leave(output: LogOutput, code: number): void {
  output.flush();
  process.exit(code);
}

/** Ends a process that must not go on. */
function end(error: unknown): never {
  process.stderr.write(`\n${failureText(error)}\n\n`);
  process.exit(1);
}
