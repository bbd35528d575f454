import { readFileSync } from 'node:fs';
import { StartError } from './base/error.ts';
import { MASTER_KEY_BYTES } from './crypto/master-keys.ts';
import { parseAllowlist } from './egress/allowlist.ts';

export type Config = Readonly<ReturnType<typeof readConfig>>;
export type AuditReads = 'batched' | 'strict' | 'off';
export type KafkaSettings = NonNullable<ReturnType<typeof readKafka>>;
export type UserServiceSettings = NonNullable<ReturnType<typeof readUserService>>;

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Reads the settings from the environment. README's table says what each means.
 * Throws StartError, which names every setting that is wrong or missing at once.
 */
export function readConfig(env: Env = process.env) {
  const faults: string[] = [];
  const read = new Reader(env, faults);
  const production = env.NODE_ENV === 'production';
  const config = {
    production,
    host: read.text('HOST', production ? '0.0.0.0' : '127.0.0.1'),
    grpcPort: read.integer('GRPC_PORT', 50051, 0, 65535),
    httpPort: read.integer('HTTP_PORT', 8080, 0, 65535),
    publicUrl: read.httpUrl('PUBLIC_URL').replace(/\/+$/, ''),
    workers: read.integer('WORKERS', 1, 1, 256),
    dataDir: read.text('LATCHKEY_DATA_DIR', '.latchkey'),
    database: readDatabase(read),
    keys: readKeys(read),
    adminKey: read.text('LATCHKEY_ADMIN_KEY', ''),
    identity: readIdentity(read),
    auditReads: read.choice<AuditReads>('AUDIT_READS', 'batched', ['batched', 'strict', 'off']),
    credentialCacheEntries: read.integer('CREDENTIAL_CACHE_ENTRIES', 100_000, 0, 10_000_000),
    /** Of events, of settled deliveries and, at most, of inbound messages. */
    retentionDays: read.integer('RETENTION_DAYS', 30, 1, 3_650),
    endpointFailingDays: read.integer('ENDPOINT_FAILING_DAYS', 5, 1, 365),
    refresh: readRefresh(read, production),
    kafka: readKafka(read),
    userService: readUserService(read, production),
    corsOrigins: read.list('CORS_ORIGINS'),
    langflow: readLangflow(read),
    sandbox: readSandbox(read, production),
    egressAllow: read.allowlist('EGRESS_ALLOW', production ? '' : 'localhost,127.0.0.0/8,::1'),
    tls: readTls(read),
    trustedProxies: read.integer('TRUST_PROXY', 0, 0, 10),
    callRates: { perTenant: read.rate('RATE_LIMIT_TENANT'), perCaller: read.rate('RATE_LIMIT_KEY') },
    /** By network; 0: any number. */
    authFailuresPerMinute: read.integer('AUTH_FAILURES_PER_MINUTE', 6_000, 0, 1_000_000),
    /** 0: any number. */
    maxConnectionsPerTenant: read.integer('MAX_CONNECTIONS_PER_TENANT', 1_000_000, 0, 1_000_000_000),
    maxInFlight: read.integer('MAX_IN_FLIGHT', 2_000, 1, 1_000_000),
    /** Below it no load is too much. */
    minInFlight: read.integer('MIN_IN_FLIGHT', 100, 1, 1_000_000),
    maxMessageBytes: read.integer('MAX_MESSAGE_BYTES', 4 * 1024 * 1024, 1024, 64 * 1024 * 1024),
    streamStallMs: read.integer('STREAM_STALL_MS', 30_000, 100, 3_600_000),
    maxCallMs: read.integer('MAX_CALL_MS', 60_000, 100, 3_600_000),
    proxyMaxInFlight: read.integer('PROXY_MAX_IN_FLIGHT', 1_000, 1, 100_000),
    proxyIdleMs: read.integer('PROXY_IDLE_MS', 120_000, 100, 3_600_000),
    shutdownGraceMs: read.integer('SHUTDOWN_GRACE_MS', 20_000, 0, 600_000),
    /** `npm start` puts a shell between npm and us, which dies of a signal without passing it on; the launcher may be killed. */
    stopsWithParent: env.npm_lifecycle_event === 'start' || env.LATCHKEY_LAUNCHED === '1',
    logLevel: read.choice('LOG_LEVEL', 'info', ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
  };
  if (config.adminKey && config.adminKey.length < 32)
    faults.push('LATCHKEY_ADMIN_KEY must have at least 32 characters');
  if (production) faults.push(...missingInProduction(config));
  if (faults.length > 0)
    throw new StartError(`The settings are not complete:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`);
  return deepFreeze(config);
}

/** Settings of `latchkey migrate`, which needs no keys. */
export function readMigrationConfig(env: Env = process.env) {
  const faults: string[] = [];
  const read = new Reader(env, faults);
  const config = { dataDir: read.text('LATCHKEY_DATA_DIR', '.latchkey'), database: readDatabase(read) };
  if (env.NODE_ENV === 'production' && !config.database.url) faults.push('DATABASE_URL is required in production');
  if (faults.length > 0) throw new StartError(faults.join('\n'));
  return config;
}

/** Settings of `latchkey demo` and `latchkey import`, which are clients. */
export function readClientConfig(env: Env = process.env): { url: string; key: string } {
  const faults: string[] = [];
  const url = new Reader(env, faults).httpUrl('LATCHKEY_URL') || 'http://localhost:8080';
  const key = env.LATCHKEY_KEY ?? '';
  if (!key) faults.push('LATCHKEY_KEY is required: the admin key that the first start printed, or another API key');
  if (faults.length > 0) throw new StartError(faults.join('\n'));
  return { url: url.replace(/\/+$/, ''), key };
}

type Needed = {
  database: { url: string };
  keys: { master: Buffer | null };
  adminKey: string;
  identity: { issuer: string };
};

function missingInProduction({ database, keys, adminKey, identity }: Needed): string[] {
  const missing: string[] = [];
  if (!database.url) missing.push('DATABASE_URL is required in production');
  if (!keys.master)
    missing.push(
      'LATCHKEY_MASTER_KEY or LATCHKEY_MASTER_KEY_FILE is required in production: `openssl rand -base64 32` makes one',
    );
  if (!identity.issuer && !adminKey)
    missing.push('OIDC_ISSUER or LATCHKEY_ADMIN_KEY is required in production, or nobody could call');
  return missing;
}

function readDatabase(read: Reader) {
  const url = read.databaseUrl('DATABASE_URL');
  const migrationUrl = read.databaseUrl('DATABASE_MIGRATION_URL') || url;
  if (migrationUrl && !url) read.fault('DATABASE_MIGRATION_URL needs DATABASE_URL beside it');
  return { url, migrationUrl, poolSize: read.integer('DATABASE_POOL_SIZE', 10, 2, 1000) };
}

function readKeys(read: Reader) {
  return {
    master: read.masterKey('LATCHKEY_MASTER_KEY'),
    previousMaster: read.masterKey('LATCHKEY_PREVIOUS_MASTER_KEY'),
    sealsPerDataKey: read.integer('DATA_KEY_MAX_SEALS', 2 ** 24, 1, 2 ** 31),
  };
}

/** Of refresh.md: a second call with the same token must fit into a lease. */
function readRefresh(read: Reader, production: boolean) {
  const callMs = read.integer('REFRESH_CALL_MS', 7_000, 100, 60_000);
  const guardMs = read.integer('REFRESH_GUARD_MS', 2_000, 10, 60_000);
  const leaseMs = read.integer('REFRESH_LEASE_MS', 18_000, 100, 600_000);
  if (leaseMs <= 2 * callMs + guardMs)
    read.fault('REFRESH_LEASE_MS must be more than twice REFRESH_CALL_MS and REFRESH_GUARD_MS together');
  const failpoints = read.list('REFRESH_FAILPOINTS');
  if (production && failpoints.length > 0) read.fault('REFRESH_FAILPOINTS is for tests, and refused in production');
  return {
    ...{ callMs, guardMs, leaseMs, failpoints },
    sweepMs: read.integer('REFRESH_SWEEP_MS', 2_000, 50, 60_000),
    maxInFlight: read.integer('REFRESH_MAX_IN_FLIGHT', 256, 1, 100_000),
  };
}

function readIdentity(read: Reader) {
  const issuer = read.httpUrl('OIDC_ISSUER');
  const audience = read.text('OIDC_AUDIENCE', '');
  if (issuer && !audience) read.fault('OIDC_AUDIENCE is required with OIDC_ISSUER');
  return {
    issuer,
    audience,
    tenantClaim: read.text('OIDC_TENANT_CLAIM', 'tenant_id'),
    projectsClaim: read.text('OIDC_PROJECTS_CLAIM', ''),
    groupsClaim: read.text('OIDC_GROUPS_CLAIM', 'groups'),
    userinfoGroups: read.choice('OIDC_USERINFO_GROUPS', 'false', ['true', 'false']) === 'true',
    groupsOfRole: {
      admin: read.list('OIDC_ROLE_ADMIN'),
      approver: read.list('OIDC_ROLE_APPROVER'),
      resource_manager: read.list('OIDC_ROLE_RESOURCE_MANAGER'),
      requestor: read.list('OIDC_ROLE_REQUESTOR'),
    },
  };
}

/** The platform's user-service, which keeps the Langflow accounts too; null: there is none. `{userId}` in a path is filled in. */
function readUserService(read: Reader, production: boolean) {
  const url = read.baseUrl('USER_SERVICE_URL');
  if (!url) return null;
  if (production && url.startsWith('http:')) read.fault('USER_SERVICE_URL must be an https URL in production');
  const secret = read.text('USER_SERVICE_SECRET', '');
  if (!/^[\x21-\x7e]{16,}$/.test(secret))
    read.fault('USER_SERVICE_SECRET must have at least 16 characters with USER_SERVICE_URL, visible ASCII alone');
  const path = (name: string, fallback: string) => {
    const text = read.text(name, fallback);
    if (!text.startsWith('/')) read.fault(`${name} must begin with /`);
    return text;
  };
  const paths = {
    get: path('USER_SERVICE_GET_PATH', '/langflow-users/me'),
    create: path('USER_SERVICE_CREATE_PATH', '/langflow-users'),
    update: path('USER_SERVICE_UPDATE_PATH', '/langflow-users/{userId}'),
  };
  return { url, secret, paths, fields: readUserServiceFields(read) };
}

/** What each field of a record is called there. */
function readUserServiceFields(read: Reader) {
  const names = {
    ...{ userId: 'userId', langflowUserId: 'langflowUserId', username: 'username' },
    ...{ password: 'password', apiKey: 'apiKey' },
  };
  const fields = Object.keys(names);
  for (const item of read.list('USER_SERVICE_FIELDS')) {
    const [field = '', name = ''] = /^(\w+)\s*=\s*([^\s=]+)$/.exec(item)?.slice(1) ?? [];
    if (fields.includes(field)) names[field as keyof typeof names] = name;
    else read.fault(`USER_SERVICE_FIELDS: "${item}" must be field=name, the field one of ${fields.join(', ')}`);
  }
  if (new Set(Object.values(names)).size < fields.length) read.fault('USER_SERVICE_FIELDS gives two fields one name');
  return names;
}

/** The built-in provider to try things out with. `url` is of one that runs already: the primary tells its workers. */
function readSandbox(read: Reader, production: boolean) {
  const wanted = read.choice('SANDBOX', production ? 'off' : 'on', ['on', 'off']) === 'on';
  if (wanted && production) read.fault('SANDBOX=on is not for production: anybody can be anyone there');
  return {
    on: wanted && !production,
    port: read.integer('SANDBOX_PORT', 9400, 0, 65535),
    url: wanted && !production ? read.httpUrl('SANDBOX_URL') : '',
  };
}

/** Null: no events go to Kafka. */
function readKafka(read: Reader) {
  const brokers = read.list('KAFKA_BROKERS');
  for (const broker of brokers)
    if (!/^(\[[0-9a-fA-F:]+\]|[^\s:[\]]+):\d{1,5}$/.test(broker))
      read.fault('KAFKA_BROKERS must list brokers as host:port, separated by commas');
  if (brokers.length === 0) return null;
  const ca = read.file('KAFKA_TLS_CA_FILE');
  const mechanism = read.choice('KAFKA_SASL_MECHANISM', '', ['', 'PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']);
  const username = read.text('KAFKA_SASL_USERNAME', '');
  const password = read.text('KAFKA_SASL_PASSWORD', '');
  if (new Set([mechanism !== '', username !== '', password !== '']).size > 1)
    read.fault('KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD go together');
  return {
    ...{ brokers, clientId: read.text('KAFKA_CLIENT_ID', 'latchkey') },
    tls: read.choice('KAFKA_TLS', ca ? 'true' : 'false', ['true', 'false']) === 'true' ? { ca } : null,
    sasl: mechanism === '' ? null : { mechanism, username, password },
    topics: {
      token: read.text('KAFKA_TOPIC_TOKEN_EVENTS', 'token-events'),
      entity: read.text('KAFKA_TOPIC_ENTITY_EVENTS', 'entity-events'),
      /** Empty: others are not sent. */
      other: read.text('KAFKA_TOPIC_EVENTS', ''),
    },
  };
}

/** The operator's Langflow, for tenants without one of their own. */
function readLangflow(read: Reader) {
  const baseUrl = read.baseUrl('LANGFLOW_BASE_URL');
  const adminKey = read.text('LANGFLOW_ADMIN_API_KEY', '');
  if ((baseUrl === '') !== (adminKey === '')) read.fault('LANGFLOW_BASE_URL and LANGFLOW_ADMIN_API_KEY go together');
  const tenantInstances = read.choice('LANGFLOW_TENANT_INSTANCES', 'false', ['true', 'false']) === 'true';
  return { baseUrl, adminKey, tenantInstances, served: baseUrl !== '' || tenantInstances };
}

function readTls(read: Reader) {
  const cert = read.file('TLS_CERT');
  const key = read.file('TLS_KEY');
  const clientCa = read.file('TLS_CLIENT_CA');
  if ((cert === null) !== (key === null)) read.fault('TLS_CERT and TLS_KEY go together');
  if (clientCa && !cert) read.fault('TLS_CLIENT_CA needs TLS_CERT and TLS_KEY');
  return cert && key ? { cert, key, clientCa } : null;
}

/** Reads typed settings and collects what is wrong with them. */
class Reader {
  readonly #env: Env;
  readonly #faults: string[];

  constructor(env: Env, faults: string[]) {
    this.#env = env;
    this.#faults = faults;
  }

  fault(text: string): void {
    this.#faults.push(text);
  }

  text(name: string, fallback: string): string {
    return this.#env[name] || fallback;
  }

  list(name: string, fallback = ''): string[] {
    const items = this.text(name, fallback).split(',');
    return items.map((item) => item.trim()).filter((item) => item !== '');
  }

  /** Hosts, addresses and ranges that outbound calls may reach. */
  allowlist(name: string, fallback: string): string[] {
    const items = this.list(name, fallback);
    try {
      parseAllowlist(items);
    } catch (error) {
      this.fault((error as Error).message);
    }
    return items;
  }

  integer(name: string, fallback: number, least: number, most: number): number {
    const text = this.#env[name];
    if (!text) return fallback;
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    this.fault(`${name} must be a whole number from ${least} to ${most}`);
    return fallback;
  }

  /** Calls a second, and `_BURST` at once after a pause; null: any number. */
  rate(name: string): { perSecond: number; burst: number } | null {
    const perSecond = this.integer(name, 0, 0, 1_000_000);
    const burst = this.integer(`${name}_BURST`, perSecond, 1, 1_000_000);
    return perSecond === 0 ? null : { perSecond, burst };
  }

  choice<T extends string>(name: string, fallback: T, choices: readonly T[]): T {
    const text = this.#env[name] || fallback;
    const choice = choices.find((candidate) => candidate === text);
    if (choice === undefined) this.fault(`${name} must be one of ${choices.join(', ')}`);
    return choice ?? fallback;
  }

  databaseUrl(name: string): string {
    const text = this.text(name, '');
    if (text && !/^postgres(ql)?:\/\//.test(text))
      this.fault(`${name} must be a URL as postgresql://user:password@host:5432/database`);
    return text;
  }

  httpUrl(name: string): string {
    const text = this.text(name, '');
    if (text && !(URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)))
      this.fault(`${name} must be an http or https URL`);
    return text;
  }

  /** Origin and path, as URLs spell them, without `/` at the end. */
  baseUrl(name: string): string {
    const url = URL.parse(this.httpUrl(name));
    if (!url) return '';
    if (url.username || url.password || url.search || url.hash || /[?#\s]/.test(this.text(name, '')))
      this.fault(`${name} must have no user, query, fragment or blank`);
    return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  }

  /** The key of the setting itself or of the file that `<name>_FILE` names: 32 bytes in base64. */
  masterKey(name: string): Buffer | null {
    const fromFile = this.file(`${name}_FILE`);
    const text = this.#env[name] || fromFile?.toString('utf8').trim();
    if (!text) return null;
    const key = Buffer.from(text, 'base64');
    if (key.length === MASTER_KEY_BYTES) return key;
    this.fault(
      `${this.#env[name] ? name : `${name}_FILE`} must hold ${MASTER_KEY_BYTES} bytes in base64: \`openssl rand -base64 32\` makes them`,
    );
    return null;
  }

  file(name: string): Buffer | null {
    const path = this.#env[name];
    if (!path) return null;
    try {
      return readFileSync(path);
    } catch {
      this.fault(`${name} names a file that cannot be read: ${path}`);
      return null;
    }
  }
}

function deepFreeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === 'object' && part !== null && !Buffer.isBuffer(part)) deepFreeze(part);
  }
  return Object.freeze(value);
}
