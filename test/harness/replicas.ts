import { createTestDatabase, type TestDatabase } from './database.ts';
import { ServerProcess } from './process.ts';
import { ADMIN_KEY, type Clients, clientsOf, newMasterKey, testEnv, transportTo } from './server.ts';

/** What people's browsers know all replicas by; it stands for a load balancer, which the test is. */
const PUBLIC_URL = 'http://latchkey.test';

/** A browser that was at the provider, on its way back to whichever replica. */
export type Arrival = { callback: string; cookie: string };

/** Replicas of our server as processes, on one database. */
export class Replicas {
  readonly database: TestDatabase;
  readonly #env: Record<string, string>;
  readonly #running: ServerProcess[] = [];

  private constructor(database: TestDatabase) {
    this.database = database;
    this.#env = testEnv(database, newMasterKey(), { PUBLIC_URL });
  }

  static async create(): Promise<Replicas> {
    return new Replicas(await createTestDatabase());
  }

  /** For tools beside them. */
  get environment(): Record<string, string> {
    return this.#env;
  }

  async start(): Promise<ServerProcess> {
    const replica = await ServerProcess.ready(this.#env);
    this.#running.push(replica);
    return replica;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.map((replica) => replica.stop('SIGKILL')));
    await this.database.drop();
  }

  /** Opens the URL of an authorization at a replica, and goes on to the provider until it sends back. */
  static async depart(replica: ServerProcess, authorizationUrl: string): Promise<Arrival> {
    const started = await request(replica, authorizationUrl, '');
    const cookie = started.headers.getSetCookie()[0]!.split(';')[0]!;
    const back = await fetch(started.headers.get('location')!, { redirect: 'manual' });
    return { callback: back.headers.get('location')!, cookie };
  }

  /** Answers the page that a browser is shown. */
  static async arrive(replica: ServerProcess, { callback, cookie }: Arrival): Promise<string> {
    return (await request(replica, callback, cookie)).text();
  }
}

/** Clients of the operator at one replica. */
export function operatorAt(replica: ServerProcess): Clients {
  return clientsOf(transportTo('grpc', replica, { authorization: `Bearer ${ADMIN_KEY}` }));
}

function request(replica: ServerProcess, publicUrl: string, cookie: string): Promise<Response> {
  const { pathname, search } = new URL(publicUrl);
  const url = `http://127.0.0.1:${replica.httpPort}${pathname}${search}`;
  return fetch(url, { redirect: 'manual', headers: { cookie } });
}
