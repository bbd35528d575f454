import { execFileSync } from 'node:child_process';
import { vi } from 'vitest';
import { setUp } from './authorizations.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import type { Family, GraceProvider } from './grace-provider.ts';
import { ServerProcess } from './process.ts';
import { ADMIN_KEY, type Clients, clientsOf, newMasterKey, testEnv, transportTo } from './server.ts';

/** D, M, L and S of refresh.md, in ms. */
export type Numbers = { call: number; guard: number; lease: number; sweep: number };

export const REAL: Numbers = { call: 7_000, guard: 2_000, lease: 18_000, sweep: 2_000 };
/** A tenth, for runs in bulk. */
export const SCALED: Numbers = { call: 700, guard: 200, lease: 1_800, sweep: 200 };

export function numbersEnv({ call, guard, lease, sweep }: Numbers): Record<string, string> {
  return {
    REFRESH_CALL_MS: String(call),
    REFRESH_GUARD_MS: String(guard),
    REFRESH_LEASE_MS: String(lease),
    REFRESH_SWEEP_MS: String(sweep),
  };
}

/** Of a replica that takes over nothing by itself. */
export const NO_SWEEPS = { REFRESH_SWEEP_MS: '60000' };

/** A replica as a process of its own, with clients that may do everything. */
export type ReplicaProcess = { process: ServerProcess; clients: Clients };

/** A connection that was imported with an expired access token. */
export type Imported = { connectionId: string; family: Family };

/** Replicas of one installation, and connections of a provider in it. */
export class Refreshing {
  readonly database: TestDatabase;
  readonly provider: GraceProvider;
  readonly #env: Record<string, string>;
  readonly #replicas: ReplicaProcess[] = [];
  #integrationId = '';
  #imported = 0;

  private constructor(database: TestDatabase, provider: GraceProvider, numbers: Numbers) {
    this.database = database;
    this.provider = provider;
    this.#env = {
      ...testEnv(database, newMasterKey()),
      ...{ LOG_LEVEL: 'info', SANDBOX: 'off' },
      ...numbersEnv(numbers),
    };
  }

  static async start(provider: GraceProvider, numbers: Numbers): Promise<Refreshing> {
    return new Refreshing(await createTestDatabase(), provider, numbers);
  }

  async replica(env: Record<string, string> = {}): Promise<ReplicaProcess> {
    const process = await ServerProcess.ready({ ...this.#env, ...env });
    const replica = {
      process,
      clients: clientsOf(transportTo('grpc', process, { authorization: `Bearer ${ADMIN_KEY}` })),
    };
    this.#replicas.push(replica);
    return replica;
  }

  async integration({ clients }: ReplicaProcess): Promise<string> {
    this.#integrationId ||= await setUp(clients, this.provider.definition('graceful'));
    return this.#integrationId;
  }

  /** New connections, each with a grant of its own and an access token that has expired. */
  async import(by: ReplicaProcess, count: number): Promise<Imported[]> {
    const integrationId = await this.integration(by);
    const value = (text: string) => ({ source: { case: 'value' as const, value: text } });
    const one = async (): Promise<Imported> => {
      const family = this.provider.grant();
      const { accessToken, refreshToken } = family.first;
      const { connection } = await by.clients.connections.createConnection({
        name: `c${++this.#imported}`,
        integrationId,
        credential: {
          kind: {
            case: 'oauth2',
            value: {
              ...{ accessToken: value(accessToken), refreshToken: value(refreshToken) },
              expireTime: { seconds: 1n, nanos: 0 },
            },
          },
        },
      });
      return { connectionId: connection!.id, family };
    };
    return Promise.all(Array.from({ length: count }, one));
  }

  /** Ends every process, frozen ones too. */
  async stop(): Promise<void> {
    await Promise.all(this.#replicas.map(({ process }) => process.stop('SIGKILL')));
    await this.provider.stop();
    await this.database.drop();
  }
}

/** The access token that a replica hands out. */
export async function tokenOf({ clients }: ReplicaProcess, connectionId: string): Promise<string> {
  const { headers } = await clients.connections.getCredentials({ connectionId });
  return headers[0]!.value.replace(/^Bearer /, '');
}

/** Resolves once a process is frozen. */
export function frozen({ child }: ServerProcess, timeout = 20_000): Promise<void> {
  const look = () => {
    const state = execFileSync('ps', ['-o', 'stat=', '-p', String(child.pid)]).toString();
    if (!state.startsWith('T')) throw new Error(`it runs: ${state}`);
  };
  return vi.waitFor(look, { timeout, interval: 20 });
}

/** What an outbox or an audit trail says of a connection's refreshes. */
export function eventsOf({ sql }: TestDatabase, connectionId: string) {
  return sql<{ type: string; payload: Record<string, unknown> }>(
    'select type, payload from latchkey.outbox where aggregate_id = $1 order by create_time',
    [connectionId],
  );
}

export function auditOf({ sql }: TestDatabase, connectionId: string) {
  return sql<{ action: string; after: Record<string, unknown> | null }>(
    'select action, after from latchkey.audit_entry where resource_id = $1 order by create_time',
    [connectionId],
  );
}
