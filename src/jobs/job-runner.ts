import { EventEmitter } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { Logger, type Runner, run, type TaskList, type WorkerEvents } from 'graphile-worker';
import type { Pool } from 'pg';
import type { Log } from '../base/log.ts';
import { enqueue, type Jobs } from '../db/jobs.ts';
import { lastingPool } from '../db/lasting-pool.ts';
import { openPool } from '../db/pool.ts';
import { reportWorkers, unlockJobsOfGoneReplicas } from '../db/replicas.ts';
import { isErased } from '../domain/access/ensure-tenant.ts';
import { endAccountKey } from '../domain/accounts/end-account-key.ts';
import { finishAccount } from '../domain/accounts/finish-account.ts';
import { pollDevice } from '../domain/authorizations/poll-device.ts';
import type { App } from '../domain/call.ts';
import { changeIn } from '../domain/change.ts';
import { revokeAtProvider } from '../domain/connections/revoke-at-provider.ts';
import { purgeInboundMessages } from '../domain/inbound/purge-inbound-messages.ts';
import { removeTenant } from '../domain/removal/remove-tenant.ts';
import { removeUser } from '../domain/removal/remove-user.ts';
import { confirmDeadGrant } from '../domain/tokens/confirm-dead-grant.ts';

const CONCURRENCY = 4;
/** How soon a job that was put off is taken up once it is due; new ones are heard of at once. */
const POLL_MS = 1_000;
const UNLOCK_MS = 10_000;
/** How long a process that stops tries to write down how its jobs ended; another replica does them again. */
const WRITTEN_MS = 2_000;

/** What a job does. Answers in how many ms to do it again; null: done. */
type Work<Name extends keyof Jobs> = (app: App, payload: Jobs[Name]) => Promise<number | null>;

const WORK: { [Name in keyof Jobs]: Work<Name> } = {
  revoke_grant: (app, { tenantId, id }) => revokeAtProvider(app, tenantId, id),
  poll_device: (app, { tenantId, id }) => pollDevice(app, tenantId, id),
  end_account_key: (app, { tenantId, id }) => endAccountKey(app, tenantId, id),
  finish_account: (app, { tenantId, id }) => finishAccount(app, tenantId, id),
  purge_inbound_messages: (app, { tenantId, id }) => purgeInboundMessages(app, tenantId, id),
  remove_user: (app, { tenantId, id }) => removeUser(app, tenantId, id),
  remove_tenant: (app, { tenantId }) => removeTenant(app, tenantId),
  confirm_dead_grant: (app, { tenantId, id, generation }) => confirmDeadGrant(app, tenantId, id, generation),
};

/** Runs jobs, and takes over those that a dead replica had begun. */
export class JobRunner {
  readonly #app: App;
  readonly #replicaId: string;
  readonly #pool: Pool;
  readonly #stopping = new AbortController();
  readonly #working = new Set<Promise<void>>();
  #runner: Runner | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(app: App, replicaId: string) {
    this.#app = app;
    this.#replicaId = replicaId;
    // One connection listens, the others fetch and finish jobs; the work itself uses the ordinary pool.
    const { url } = app.config.database;
    const options = { connectionString: url, max: CONCURRENCY + 1, application_name: 'latchkey-jobs' };
    this.#pool = openPool(app.log, 'the job queue lost a connection', options);
  }

  async start(): Promise<void> {
    const workers: string[] = [];
    // Jobs are locked in the name of the pool. Heard from the start: `run` has made it by the time it answers.
    const events: WorkerEvents = new EventEmitter();
    events.on('pool:create', ({ workerPool }) => workers.push(workerPool.id));
    this.#runner = await run({
      pgPool: lastingPool(this.#pool, this.#stopping.signal),
      taskList: this.#tasks(),
      concurrency: CONCURRENCY,
      pollInterval: POLL_MS,
      noHandleSignals: true,
      logger: loggerTo(this.#app.log),
      events,
    });
    const tell = () => reportWorkers(this.#app.pool, this.#replicaId, workers);
    this.#timer = setInterval(() => {
      const unlocking = tell().then(() => unlockJobsOfGoneReplicas(this.#app.pool));
      unlocking.catch((error: unknown) =>
        this.#app.log.warn({ err: error }, 'jobs of dead replicas were not looked for'),
      );
    }, UNLOCK_MS);
    this.#timer.unref();
    await tell();
  }

  /** Lets running jobs end. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const stopped = this.#runner?.stop().catch(() => {});
    const done = Promise.allSettled(this.#working).then(() => pause(WRITTEN_MS, undefined, { ref: false }));
    await Promise.race([stopped, done]);
    this.#stopping.abort();
    await this.#pool.end();
  }

  #tasks(): TaskList {
    const tasks = Object.keys(WORK).map((name) => [name, this.#task(name as keyof Jobs)]);
    return Object.fromEntries(tasks) as TaskList;
  }

  #task<Name extends keyof Jobs>(name: Name) {
    return async (payload: unknown): Promise<void> => {
      const working = this.#work(name, payload as Jobs[Name]);
      this.#working.add(working);
      await working.finally(() => this.#working.delete(working));
    };
  }

  async #work<Name extends keyof Jobs>(name: Name, job: Jobs[Name]): Promise<void> {
    if (name !== 'remove_tenant' && (await isErased(this.#app, job.tenantId))) return;
    const againInMs = await WORK[name](this.#app, job);
    if (againInMs === null) return;
    const runAt = new Date(this.#app.clock.now() + againInMs);
    const key = `${name} ${job.tenantId} ${job.id}`;
    await changeIn(this.#app, job.tenantId, (em) => enqueue(em, name, job, { runAt, key }));
  }
}

function loggerTo(log: Log): Logger {
  const levels = { error: 'error', warning: 'warn', info: 'debug', debug: 'trace' } as const;
  return new Logger(() => (level, message) => log[levels[level]]({ source: 'graphile-worker' }, message));
}
