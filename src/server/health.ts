import type { HealthImplementation } from 'grpc-health-check';
import { Repeating } from '../base/repeating.ts';
import type { ChangeListener } from '../db/listen.ts';
import type { App, Dependency, SystemStatus } from '../domain/call.ts';
import { type Seen, seeDatabase, seeMasterKey, seeProviders, seeQueue } from './dependencies.ts';

const CHECK_MS = 2_000;
const SLOW_CHECK_MS = 10_000;

/** What it looks at. */
type Watched = {
  listener: ChangeListener;
  /** Name of the newest master key. */
  masterKey: string;
  /** What says by itself how it does. */
  others: () => readonly Seen[];
};

/** Watches what the service stands on, and tells grpc.health.v1, `/readyz` and whoever asks for the status. */
export class Health {
  readonly #app: App;
  readonly #watched: Watched;
  readonly #grpc: HealthImplementation;
  readonly #services: readonly string[];
  #database: Seen = { name: 'database', status: 'down', latencyMs: null, detail: 'not checked yet' };
  #slow: readonly Seen[] = [];
  readonly #known = new Map<string, { status: Dependency['status']; since: Date }>();
  #draining = false;
  readonly #checks: readonly Repeating[];

  /** @param services names that grpc.health.v1 knows beside '' */
  constructor(app: App, watched: Watched, grpc: HealthImplementation, services: readonly string[]) {
    this.#app = app;
    this.#watched = watched;
    this.#grpc = grpc;
    this.#services = services;
    const repeat = (everyMs: number, check: () => Promise<void>) =>
      new Repeating({ everyMs, log: app.log, failure: 'the health was not checked' }, check);
    this.#checks = [repeat(CHECK_MS, () => this.#check()), repeat(SLOW_CHECK_MS, () => this.#checkSlow())];
  }

  async start(): Promise<void> {
    await Promise.all([this.#check(), this.#checkSlow()]);
    for (const checks of this.#checks) checks.start();
  }

  /** From now on not ready, whatever the dependencies say. */
  drain(): void {
    this.#draining = true;
    for (const checks of this.#checks) void checks.stop();
    this.#tell();
  }

  /** What is known now. A provider that is down does not keep calls from being answered. */
  status(): SystemStatus {
    const { listener, others } = this.#watched;
    const seen = [this.#database, listening(listener), ...this.#slow, ...others(), ...seeProviders(this.#app)];
    if (this.#draining) seen.unshift({ name: 'server', status: 'down', latencyMs: null, detail: 'stopping' });
    const dependencies = seen.map((one) => ({ ...one, since: this.#since(one) }));
    const down = dependencies.filter(({ status }) => status === 'down');
    if (down.some(({ name }) => !name.startsWith('provider:'))) return { status: 'down', dependencies };
    const degraded = down.length > 0 || dependencies.some(({ status }) => status === 'degraded');
    return { status: degraded ? 'degraded' : 'up', dependencies };
  }

  #since({ name, status }: Seen): Date {
    const known = this.#known.get(name);
    if (known?.status === status) return known.since;
    const since = new Date(this.#app.clock.now());
    this.#known.set(name, { status, since });
    return since;
  }

  async #check(): Promise<void> {
    this.#database = await seeDatabase(this.#app.sidePool);
    if (!this.#draining) this.#tell();
  }

  async #checkSlow(): Promise<void> {
    const { sidePool } = this.#app;
    const slow = Promise.all([seeQueue(sidePool), seeMasterKey(sidePool, this.#watched.masterKey)]);
    this.#slow = await slow.catch((error: unknown) => this.#unseen(error, this.#slow));
  }

  /** The database says itself how it does; what stands in it stays as it was seen. */
  #unseen(error: unknown, before: readonly Seen[]): readonly Seen[] {
    this.#app.log.debug({ err: error }, 'what the service stands on was not looked at');
    return before;
  }

  #tell(): void {
    const status = this.status().status === 'down' ? 'NOT_SERVING' : 'SERVING';
    for (const service of ['', ...this.#services]) this.#grpc.setStatus(service, status);
  }
}

function listening({ up }: ChangeListener): Seen {
  const seen = { name: 'listener', latencyMs: null };
  if (up) return { ...seen, status: 'up', detail: '' };
  return { ...seen, status: 'degraded', detail: 'changes of other replicas are not heard; caches are not believed' };
}
