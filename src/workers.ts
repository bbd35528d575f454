import cluster, { type Worker } from 'node:cluster';
import { AggregatorRegistry, type Registry } from 'prom-client';
import type { Log } from './base/log.ts';

/** What a worker tells the primary once it listens. */
export type WorkerReady = { type: 'ready'; grpcPort: number; httpPort: number; firstAdminKey: string | null };
type MetricsQuestion = { type: 'metrics'; id: number };
/** Without text: not all workers answered. */
type MetricsAnswer = { type: 'metrics'; id: number; text: string | null };
type FromWorker = WorkerReady | MetricsQuestion;

const RESTART_MS = 1_000;

/** The primary's side: forks workers that share the ports, replaces those that die, answers metrics of all. */
export class WorkerPool {
  readonly #env: Record<string, string>;
  readonly #log: Log;
  readonly #metrics = new AggregatorRegistry();
  #stopping = false;

  constructor(env: Record<string, string>, log: Log) {
    this.#env = env;
    this.#log = log;
  }

  /** Starts so many; answers what each said, or throws when one ends instead. */
  start(count: number): Promise<WorkerReady[]> {
    return Promise.all(Array.from({ length: count }, () => this.#fork()));
  }

  /** Lets each end its calls and waits until all are gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    const gone = workers.map((worker) => new Promise<void>((done) => worker.on('exit', () => done())));
    for (const worker of workers) worker.process.kill('SIGTERM');
    await Promise.all(gone);
  }

  #fork(): Promise<WorkerReady> {
    const worker = cluster.fork(this.#env);
    return new Promise((done, fail) => {
      let ready = false;
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'ready') {
          ready = true;
          done(message);
        } else if (message.type === 'metrics') this.#answerMetrics(worker, message);
      });
      worker.on('exit', (code) => (ready ? this.#replace(code) : fail(new Error(`a worker ended with code ${code}`))));
    });
  }

  /** Until one is ready: the reason that it died of may last. */
  #replace(code: number): void {
    if (this.#stopping) return;
    this.#log.error({ code }, 'a worker died; another takes its place');
    setTimeout(() => this.#fork().catch(() => this.#replace(code)), RESTART_MS);
  }

  #answerMetrics(worker: Worker, { id }: MetricsQuestion): void {
    const answer = (text: string | null) => {
      // The worker may be gone by now, which is no concern of ours.
      worker.send({ type: 'metrics', id, text } satisfies MetricsAnswer, () => {});
    };
    this.#metrics.clusterMetrics().then(answer, () => answer(null));
  }
}

/** The worker's side: metrics of all workers, asked of the primary; its own where not all can be had. */
export function clusterMetrics(): (own: Registry) => Promise<string> {
  let asked = 0;
  return (own) => {
    const id = asked++;
    return new Promise((done) => {
      const hear = (message: MetricsAnswer) => {
        if (message.type !== 'metrics' || message.id !== id) return;
        process.off('message', hear);
        done(message.text ?? own.metrics());
      };
      process.on('message', hear);
      process.send!({ type: 'metrics', id } satisfies MetricsQuestion);
    });
  };
}

/** Makes this worker answer the primary when it gathers metrics. */
export function shareMetrics(own: Registry): void {
  new AggregatorRegistry();
  AggregatorRegistry.setRegistries([own]);
}

export function tellPrimary(message: WorkerReady): void {
  process.send!(message);
}
