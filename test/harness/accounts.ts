import type { Account } from '../../gen/latchkey/v1/account_pb.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { TestIssuer } from './issuer.ts';
import { type LangflowFake, type LangflowVersion, type Switches, startLangflow } from './langflow.ts';
import { type Clients, newMasterKey, type Role, TestServer, type TransportName } from './server.ts';

const GROUPS: Record<Role, string> = {
  ...{ admin: 'admins', resource_manager: 'managers', approver: 'approvers', requestor: 'requestors' },
};

type Options = {
  version?: LangflowVersion;
  adminKey?: string;
  switches?: Partial<Switches>;
  now?: () => number;
  replicas?: number;
  env?: Record<string, string>;
};

export type Who = { subject?: string; role?: Role; tenant?: string; replica?: number; transport?: TransportName };

/** Replicas in this process with one database and one issuer, and a fake Langflow that is the operator's. A test has a tenant of its own. */
export class AccountWorld implements AsyncDisposable {
  readonly database: TestDatabase;
  readonly issuer: TestIssuer;
  readonly langflow: LangflowFake;
  readonly servers: TestServer[] = [];
  /** Of the replicas that start from now on. */
  masterKey = newMasterKey();
  readonly #env: Record<string, string>;
  #tenants = 0;

  private constructor(database: TestDatabase, issuer: TestIssuer, langflow: LangflowFake, env: Record<string, string>) {
    this.database = database;
    this.issuer = issuer;
    this.langflow = langflow;
    this.#env = {
      ...{ LANGFLOW_BASE_URL: langflow.url, LANGFLOW_ADMIN_API_KEY: langflow.adminKey },
      ...{ OIDC_ISSUER: issuer.url, SANDBOX: 'off', ...env },
    };
  }

  /** Logins are not limited, unless it is said otherwise. */
  static async start({ version = '1.13', adminKey, switches, now, replicas = 1, env = {} }: Options = {}) {
    const langflow = await startLangflow({
      ...{ version, switches: { loginsPerMinute: null, ...switches } },
      ...(adminKey ? { adminKey } : {}),
      ...(now ? { now } : {}),
    });
    const world = new AccountWorld(await createTestDatabase(), await TestIssuer.start(), langflow, env);
    for (let i = 0; i < replicas; i++) await world.startReplica();
    return world;
  }

  async startReplica(env: Record<string, string> = {}): Promise<TestServer> {
    const { database, masterKey } = this;
    const server = await TestServer.start({ database, masterKey, env: { ...this.#env, ...env } });
    this.servers.push(server);
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
    await this.langflow.close();
    await this.issuer.stop();
    await this.database.drop();
  }

  newTenant(): string {
    return `accounts-${++this.#tenants}`;
  }

  get tenant(): string {
    return `accounts-${this.#tenants}`;
  }

  /** The same subject of the same tenant is the same user, at whatever replica. */
  async as({ subject = 'ada', role = 'requestor', tenant = this.tenant, replica = 0, transport = 'grpc' }: Who = {}) {
    const token = await this.issuer.token({ sub: subject, tenant_id: tenant, groups: [GROUPS[role]] });
    return this.servers[replica]!.clients(transport, { authorization: `Bearer ${token}` });
  }

  /** Users there of the tenant's accounts, whether we know of them or not: they were made since `before`. */
  usersSince(before: ReadonlySet<string>): string[] {
    return [...this.langflow.users.keys()].filter((name) => !before.has(name));
  }

  /** Lets it be so long since the tenant's accounts were last seen to work that they are looked at again. */
  async forgetChecks(): Promise<void> {
    const longAgo = `update latchkey.provider_account set verify_time = verify_time - interval '1 hour' where tenant_id = $1`;
    await this.database.sql(longAgo, [this.tenant]);
  }

  /** What is kept of the tenant's accounts, as text. */
  async rows(): Promise<{ status: string; username: string; remote_id: string; row: string }[]> {
    return this.database.sql('select a.*, a::text as row from latchkey.provider_account a where tenant_id = $1', [
      this.tenant,
    ]);
  }

  /** Runs the tenant's jobs that wait for their time. Whether there was one. */
  async runJobsNow(): Promise<boolean> {
    const waiting = `update graphile_worker._private_jobs set run_at = now() where payload ->> 'tenantId' = $1 and locked_at is null and run_at > now() returning 1`;
    return (await this.database.sql(waiting, [this.tenant])).length > 0;
  }

  /** Who a key is of; null: it opens nothing. */
  async ownerOf(apiKey: string): Promise<string | null> {
    const answer = await fetch(`${this.langflow.url}/api/v1/users/whoami`, { headers: { 'x-api-key': apiKey } });
    return answer.ok ? ((await answer.json()) as { username: string }).username : null;
  }
}

export async function accountOf({ integrations }: Clients): Promise<Account> {
  return (await integrations.ensureAccount({ provider: 'langflow' })).account!;
}

/** The `Authorization` that EnsureTokens answers. */
export async function bearerOf({ connections }: Clients): Promise<string> {
  const { result } = await connections.ensureTokens({ provider: 'langflow' });
  if (result.case !== 'credentials') throw new Error(`answered ${result.case}`);
  return result.value.headers[0]!.value;
}

/** A Langflow of the tenant's own. Answers the integration's id. */
export async function setUpLangflow(
  { integrations }: Clients,
  { url, adminKey }: Pick<LangflowFake, 'url' | 'adminKey'>,
): Promise<string> {
  const { integration } = await integrations.createIntegration({ provider: 'langflow', settings: { base_url: url } });
  const integrationId = integration!.id;
  await integrations.setIntegrationCredentials({ integrationId, clientSecrets: [adminKey] });
  return integrationId;
}
