import type { HealthImplementation } from 'grpc-health-check';
import type { ChangeListener } from '../db/listen.ts';
import type { App } from '../domain/call.ts';

const CHECK_MS = 2_000;
const ANSWER_MS = 2_000;

/** One thing that the service stands on. */
export type Dependency = { name: string; status: 'up' | 'degraded' | 'down'; detail: string };
/** Whether the service can answer calls; `degraded` dependencies do not stop it. */
export type Readiness = { ready: boolean; dependencies: Dependency[] };

/** Watches what the service stands on, and tells grpc.health.v1 and `/readyz`. */
export class Health {
  readonly #app: App;
  readonly #listener: ChangeListener;
  readonly #grpc: HealthImplementation;
  readonly #services: readonly string[];
  readonly #others: () => readonly Dependency[];
  #database: Dependency = { name: 'database', status: 'down', detail: 'not checked yet' };
  #draining = false;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param services names that grpc.health.v1 knows beside ''
   * @param others rows beside those of the database and the listener
   */
  constructor(
    app: App,
    listener: ChangeListener,
    grpc: HealthImplementation,
    services: readonly string[],
    others: () => readonly Dependency[],
  ) {
    this.#app = app;
    this.#listener = listener;
    this.#grpc = grpc;
    this.#services = services;
    this.#others = others;
  }

  async start(): Promise<void> {
    await this.#check();
  }

  /** From now on not ready, whatever the dependencies say. */
  drain(): void {
    this.#draining = true;
    clearTimeout(this.#timer);
    this.#tell();
  }

  readiness(): Readiness {
    const listening: Dependency = this.#listener.up
      ? { name: 'listener', status: 'up', detail: '' }
      : {
          name: 'listener',
          status: 'degraded',
          detail: 'changes of other replicas are not heard; caches are not believed',
        };
    const dependencies = [this.#database, listening, ...this.#others()];
    if (this.#draining) dependencies.unshift({ name: 'server', status: 'down', detail: 'stopping' });
    return { ready: dependencies.every((dependency) => dependency.status !== 'down'), dependencies };
  }

  async #check(): Promise<void> {
    this.#database = { name: 'database', ...(await this.#askDatabase()) };
    if (this.#draining) return;
    this.#tell();
    this.#timer = setTimeout(() => void this.#check(), CHECK_MS);
    this.#timer.unref();
  }

  async #askDatabase(): Promise<Omit<Dependency, 'name'>> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error('late')), ANSWER_MS);
    try {
      await Promise.race([this.#app.pool.query('select 1'), late.promise]);
      return { status: 'up', detail: '' };
    } catch {
      return { status: 'down', detail: 'does not answer' };
    } finally {
      clearTimeout(timer);
    }
  }

  #tell(): void {
    const status = this.readiness().ready ? 'SERVING' : 'NOT_SERVING';
    for (const service of ['', ...this.#services]) this.#grpc.setStatus(service, status);
  }
}
