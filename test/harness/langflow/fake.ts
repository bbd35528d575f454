import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Asked } from './http.ts';
import { credentialOf } from './identity.ts';
import { type LangflowVersion, profileOf, type Switches } from './profiles.ts';
import { answerOf } from './routes.ts';
import { type Held, type Script, Scripts } from './scripts.ts';
import { askedOf, send } from './wire.ts';
import { type ApiKey, type Flow, type Run, type User, World } from './world.ts';

/** A request, and what became of it. */
export type Hit = {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  text: string;
  /** ms since the epoch. */
  at: number;
  /** `admin`, the username whose key it is, `unknown` for a key that is not there, `bearer`, or `none`. */
  credential: string;
  /** Null as long as nothing was answered. */
  status: number | null;
  /** Null as long as it goes on; `cut` is by a script or because all is down, `hung_up` is by the client. */
  end: 'answered' | 'cut' | 'hung_up' | null;
};

export type LangflowOptions = {
  version: LangflowVersion;
  port?: number;
  /** The superuser's key: LANGFLOW_API_KEY, which outlives the secret key, where the version takes it from there. */
  adminKey?: string;
  switches?: Partial<Switches>;
  /** ms since the epoch; tokens and the login limiter go by it. */
  now?: () => number;
};

/** A Langflow on loopback that behaves as one version does. Its superuser is `admin`. */
export class LangflowFake implements AsyncDisposable {
  url = '';
  readonly hits: Hit[] = [];
  readonly #world: World;
  readonly #scripts = new Scripts();
  readonly #waiting = new Set<{ predicate: () => boolean; done: () => void }>();
  readonly #server: Server = createServer((request, response) => {
    this.#serve(request, response).catch((error: unknown) => response.destroy(error as Error));
  });

  constructor({ version, adminKey, switches = {}, now = () => Date.now() }: LangflowOptions) {
    this.#world = new World({ switches: { ...profileOf(version), ...switches }, now, adminKey });
    this.#world.changed = () => this.#check();
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(port, '127.0.0.1', done));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#scripts.clear();
    for (const run of this.#world.runs) run.release();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The superuser's key. It is another one once the secret key was rotated, where that kills keys. */
  get adminKey(): string {
    return this.#world.adminKey;
  }

  /** By username. */
  get users(): ReadonlyMap<string, User> {
    return new Map(this.#world.users.all().map((user) => [user.username, user]));
  }

  get keys(): readonly ApiKey[] {
    return this.#world.keys.all();
  }

  get flows(): readonly Flow[] {
    return this.#world.flows.all();
  }

  get runs(): readonly Run[] {
    return this.#world.runs;
  }

  count(method: string, path: RegExp): number {
    return this.hits.filter((hit) => hit.method === method && path.test(hit.path)).length;
  }

  set(changes: Partial<Switches>): void {
    Object.assign(this.#world.switches, changes);
  }

  /** Scripts the next request like this that has no script yet. */
  next(method: string, path: RegExp, script: Script): Held {
    return this.#scripts.add(method, path, script);
  }

  /** Tokens are dead, and keys where they are encrypted; users and flows stay. */
  rotateSecretKey(): void {
    this.#world.rotateSecretKey();
  }

  /** What lags is committed, as it is after a moment. */
  settle(): void {
    for (const table of [this.#world.users, this.#world.keys, this.#world.flows]) table.settle();
  }

  /** The login limiter begins anew. */
  forgetLogins(): void {
    this.#world.logins.clear();
  }

  /** One who was here before; active, unless it is said otherwise. */
  addUser(username: string, password: string, changes: Partial<User> = {}): User {
    return this.#world.addUser(username, password, { is_active: true, ...changes });
  }

  /** Whose flows and keys go, too. */
  removeUser(user: User): void {
    this.#world.deleteUser(user);
  }

  removeKeys(user: User): void {
    this.#world.keys.delete(({ user_id }) => user_id === user.id);
  }

  addKey(user: User): string {
    return this.#world.addKey(user).api_key;
  }

  addFlow(owner: User, name: string, changes: Partial<Flow> = {}): Flow {
    return this.#world.addFlow(owner, { name, ...changes });
  }

  /** Resolves as soon as it is so, which is looked at whenever a request comes or ends, and a run begins or ends. */
  waitFor(predicate: () => boolean): Promise<void> {
    const { promise, resolve: done } = Promise.withResolvers<void>();
    this.#waiting.add({ predicate, done });
    this.#check();
    return promise;
  }

  #check(): void {
    for (const waiting of this.#waiting) {
      if (!waiting.predicate()) continue;
      this.#waiting.delete(waiting);
      waiting.done();
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = await askedOf(request, response);
    const hit = this.#record(asked);
    const cut = () => {
      this.#end(hit, 'cut');
      request.socket.resetAndDestroy();
    };
    asked.gone.addEventListener('abort', () => this.#end(hit, 'hung_up'));
    const script = this.#scripts.take(asked);
    script?.arrived();
    const { down } = this.#world.switches;
    if (script?.hold === 'before') await script.released;
    if (script?.drop === 'before' || down === true) return cut();
    const answer = script?.answer ?? (down ? { status: down } : await answerOf(this.#world, asked));
    if (script?.hold === 'after') await script.released;
    if (script?.drop === 'after') return cut();
    hit.status = answer.status;
    await send(response, answer);
    this.#end(hit, 'answered');
  }

  #record(asked: Asked): Hit {
    const { method, path, query, headers, text } = asked;
    const credential = credentialOf(this.#world, asked);
    const hit: Hit = { method, path, query, headers, text, at: Date.now(), credential, status: null, end: null };
    this.hits.push(hit);
    this.#check();
    return hit;
  }

  #end(hit: Hit, end: Hit['end']): void {
    hit.end ??= end;
    this.#check();
  }
}
