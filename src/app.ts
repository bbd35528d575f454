import { createHmac } from 'node:crypto';
import { HealthImplementation } from 'grpc-health-check';
import type { Pool } from 'pg';
import { Gauge, type Registry } from 'prom-client';
import { systemClock } from './base/clock.ts';
import { newId } from './base/id.ts';
import type { Log } from './base/log.ts';
import { createMetrics } from './base/metrics.ts';
import { Pauses } from './base/pauses.ts';
import { Rates } from './base/rates.ts';
import { Recent } from './base/recent.ts';
import { SecretText } from './base/secret-text.ts';
import { Signals } from './base/signals.ts';
import { Slots } from './base/slots.ts';
import { IdentityProvider } from './clients/identity-provider.ts';
import { type EventSink, Kafka } from './clients/kafka.ts';
import { UserService } from './clients/user-service.ts';
import type { Config } from './config.ts';
import { Keyring } from './crypto/keyring.ts';
import { MasterKeys } from './crypto/master-keys.ts';
import { credentialRows } from './db/credential-rows.ts';
import { dataKeyStore } from './db/data-keys.ts';
import { openInstallation } from './db/installation.ts';
import { ChangeListener } from './db/listen.ts';
import { openOrm, poolOf } from './db/orm.ts';
import { PageTokens } from './db/paging.ts';
import { openPool } from './db/pool.ts';
import { ensureOperatorKey } from './domain/access/ensure-operator-key.ts';
import { auditKeysOf } from './domain/audit/audit-id.ts';
import type { App, OperatorInstance } from './domain/call.ts';
import { TenantFeeds } from './domain/feeds/event-feeds.ts';
import { ProviderHealthCounts } from './domain/integrations/provider-health-log.ts';
import { requestHashKeyOf } from './domain/once.ts';
import { FetchedTokenCache } from './domain/tokens/fetched-tokens.ts';
import { RefreshesUnderWay } from './domain/tokens/refreshes.ts';
import { addUsage } from './domain/usage/add-usage.ts';
import { Egress } from './egress/egress.ts';
import type { ServiceHandlers } from './handlers/implement.ts';
import { servicesFor } from './handlers/index.ts';
import { AuditSealer } from './jobs/audit-sealer.ts';
import { CallSettler } from './jobs/call-settler.ts';
import { CheckSweeper } from './jobs/check-sweeper.ts';
import { DeliverySender } from './jobs/delivery-sender.ts';
import { EventFanOut } from './jobs/event-fan-out.ts';
import { EventPlacer } from './jobs/event-placer.ts';
import { EventRelay } from './jobs/event-relay.ts';
import { Housekeeper } from './jobs/housekeeper.ts';
import { JobRunner } from './jobs/job-runner.ts';
import { ReadAuditWriter } from './jobs/read-audit.ts';
import { RefreshSweeper } from './jobs/refresh-sweeper.ts';
import { ReplicaHeartbeat } from './jobs/replica-heartbeat.ts';
import { UsageCounter } from './jobs/usage-counter.ts';
import { clear, forget, type Memory, openCaches, signalKey } from './memory.ts';
import { catalog as builtIn } from './providers/catalog.ts';
import type { ProviderDefinition } from './providers/types.ts';
import { sandboxProvider } from './sandbox/provider-entry.ts';
import { AuditExports } from './server/audit-export.ts';
import { createConnectHandler } from './server/connect.ts';
import { seeAudit } from './server/dependencies.ts';
import { openDocumentation } from './server/documentation.ts';
import { drainServers } from './server/drain.ts';
import { createGrpcServer, listenGrpc } from './server/grpc.ts';
import { Health } from './server/health.ts';
import { createHttpServer, listenHttp } from './server/http.ts';
import { serveInbound } from './server/inbound-webhooks.ts';
import { LoadShedder } from './server/load-shedder.ts';
import { serveOAuth } from './server/oauth-redirects.ts';
import { methodsOf } from './server/pipeline/method.ts';
import { Pipeline } from './server/pipeline/pipeline.ts';
import { warmValidation } from './server/pipeline/validate.ts';
import { RequestProxy } from './server/proxy.ts';

const REFUSALS_REMEMBERED = 10_000;
const REFUSALS_MS = 60_000;
const FETCHED_TOKENS_CACHED = 50_000;
const COMMIT_MS = 3_000;
const SIDE_MS = 2_000;
const OWN_FLOWS_REMEMBERED = 50_000;
const OWN_FLOWS_MS = 60_000;
const RENEWALS_REMEMBERED = 50_000;
const RENEWALS_MS = 30_000;

/** What a process is given to run with. */
export type Setting = {
  /** With `database.url` and `keys.master` in place. */
  config: Config;
  log: Log;
  /** Called when this process must not go on. */
  unfit: (error: Error) => void;
  /** Those that the settings ask for by default. */
  services?: readonly ServiceHandlers[];
  /** Where events go, where that is not the Kafka of the settings. */
  eventSink?: EventSink;
  /** Where `/metrics` comes from, where it is not this process alone. */
  metricsText?: (own: Registry) => Promise<string>;
};

/** A running replica. */
export type Replica = {
  app: App;
  grpcPort: number;
  httpPort: number;
  /** Where one was made just now. */
  firstAdminKey: SecretText | null;
  /** Ends calls in flight within the grace, then everything. */
  stop(): Promise<void>;
};

/** Builds what the process shares, then listens. Throws StartError, with nothing left open. */
export async function startReplica(setting: Setting): Promise<Replica> {
  const opened: (() => Promise<void>)[] = [];
  try {
    return await start(setting, opened);
  } catch (error) {
    for (const close of opened.reverse()) await close();
    throw error;
  }
}

async function start(setting: Setting, opened: (() => Promise<void>)[]): Promise<Replica> {
  const { config, log } = setting;
  const methods = methodsOf(setting.services ?? servicesFor(config));
  const { app, sender, listener, readAudit, masterKey } = await openApp(setting, opened);
  const jobs = new JobRunner(app, app.replicaId);
  const shedder = new LoadShedder(app);
  const pipeline = new Pipeline(app, methods, shedder);
  warmValidation(methods);
  const grpcHealth = new HealthImplementation({ '': 'NOT_SERVING' });
  const grpc = createGrpcServer(config, pipeline, methods, grpcHealth);
  const relay = relayOf(app, setting.eventSink);
  const served = [...new Set(methods.map((method) => method.labels.grpc_service))];
  const sealer = new AuditSealer(app);
  const others = () => [seeAudit(readAudit, sealer), ...(relay ? [relay.status()] : [])];
  const health = new Health(app, { listener, masterKey, others }, grpcHealth, served);
  app.status = () => health.status();
  const proxy = new RequestProxy(app, shedder);
  const auditExports = new AuditExports(app);
  const http = createHttpServer(config, {
    ...{ proxy, auditExports },
    ...{ health, log },
    documentation: openDocumentation(config),
    connect: createConnectHandler(config, pipeline, methods),
    oauth: (request, response) => serveOAuth(app, request, response),
    inbound: (request, response) => serveInbound(app, request, response),
    metrics: () => (setting.metricsText ?? ((own) => own.metrics()))(app.metrics.registry),
  });
  await health.start();
  shedder.start();
  opened.push(async () => shedder.stop());
  await jobs.start();
  opened.push(() => jobs.stop());
  for (const job of [new RefreshSweeper(app), new CheckSweeper(app)]) run(job, opened);
  sender.start();
  opened.push(() => sender.stop(config.shutdownGraceMs));
  for (const job of [new Housekeeper(app), sealer]) run(job, opened);
  // Before there are calls: what happens from now on is relayed.
  await relay?.takeLanes();
  opened.push(async () => relay?.stop());
  for (const job of [new EventFanOut(app), new EventPlacer(app)]) run(job, opened);
  opened.push(() =>
    drainServers({ grpc, http, pipeline, proxy, auditExports, health, graceMs: config.shutdownGraceMs }),
  );
  opened.push(() => app.eventFeeds.stop());
  const firstAdminKey = await ensureOperatorKey(app);
  const grpcPort = await listenGrpc(grpc, config);
  const httpPort = await listenHttp(http, config);
  app.egress.refuse([grpcPort, httpPort]);
  app.publicUrl = publicUrlOf(config, httpPort);
  relay?.start();
  return {
    ...{ app, grpcPort, httpPort, firstAdminKey },
    async stop() {
      for (const close of opened.reverse()) await close();
    },
  };
}

function run(job: { start(): void; stop(): Promise<void> }, opened: (() => Promise<void>)[]): void {
  job.start();
  opened.push(() => job.stop());
}

async function openApp(
  { config, log, unfit }: Setting,
  opened: (() => Promise<void>)[],
): Promise<{
  app: App;
  sender: DeliverySender;
  listener: ChangeListener;
  readAudit: ReadAuditWriter;
  /** Name of the newest. */
  masterKey: string;
}> {
  const { database, keys, identity } = config;
  const metrics = createMetrics();
  const egress = new Egress({ allow: config.egressAllow });
  opened.push(() => egress.close());
  const orm = await openOrm(database.url, database.poolSize);
  opened.push(() => orm.close());
  const pool = await poolOf(orm);
  const masterKeys = new MasterKeys(keys.master!, keys.previousMaster);
  const replicaId = newId('rep');
  const heartbeat = new ReplicaHeartbeat(replicaId, pool, masterKeys, log, unfit);
  await heartbeat.start();
  opened.push(() => heartbeat.stop());
  const installation = await openInstallation(pool, masterKeys);
  const listener = new ChangeListener(database.url, log, {
    changed: (change) => forget(memory, change),
    missed: () => clear(memory),
  });
  const { trusted } = listener;
  const caches = openCaches(config, metrics, listener);
  const keyring = new Keyring(masterKeys, dataKeyStore(pool), installation.id, keys.sealsPerDataKey, trusted);
  const fetchedTokens = new FetchedTokenCache(systemClock, FETCHED_TOKENS_CACHED);
  const signals = new Signals();
  const memory: Memory = { caches, keyring, fetchedTokens, signals };
  const refreshes = new RefreshesUnderWay(config.refresh.maxInFlight);
  const commitPool = openCommitPool(config, log);
  opened.push(async () => {
    await refreshes.idle();
    await commitPool.end();
  });
  const sidePool = openSidePool(config, log);
  opened.push(() => sidePool.end());
  await listener.start();
  opened.push(() => listener.stop());
  const readAudit = new ReadAuditWriter(config.auditReads, pool, log, metrics);
  opened.push(() => readAudit.stop());
  const usage = new UsageCounter(systemClock, log, (tenantId, counts) => addUsage(app, tenantId, counts));
  opened.push(() => usage.stop());
  const parts: Omit<App, 'deliveries' | 'callLimits' | 'status'> = {
    ...{ config, clock: systemClock, log, metrics, orm, pool, egress, caches, readAudit, usage },
    catalog: catalogOf(config),
    credentialRows: credentialRows(pool),
    keyring,
    pageTokens: new PageTokens(installation.secret),
    auditKeys: auditKeysOf(installation.secret),
    requestHashKey: requestHashKeyOf(installation.secret),
    identityProvider: identity.issuer ? openIdentityProvider(identity, egress) : null,
    operatorInstances: operatorInstances(config, egress),
    loginPauses: new Pauses(),
    ownFlows: new Recent({ max: OWN_FLOWS_REMEMBERED, ttlMs: OWN_FLOWS_MS }),
    flowRuns: new Slots(),
    renewedAfterRefusal: new Recent({ max: RENEWALS_REMEMBERED, ttlMs: RENEWALS_MS }),
    inbound: {
      slots: new Slots(),
      rates: new Rates(systemClock),
      refusals: new Recent({ max: REFUSALS_REMEMBERED, ttlMs: REFUSALS_MS }),
    },
    tenantInstances: new Set(config.langflow.tenantInstances ? ['langflow'] : []),
    providerHealth: new ProviderHealthCounts(systemClock),
    userService: openUserService(config, egress),
    forget: (change) => forget(memory, change),
    publicUrl: config.publicUrl,
    linkKey: createHmac('sha256', installation.secret).update('links').digest(),
    ...{ replicaId, commitPool, sidePool, refreshes },
    refusedCredentials: new Rates(systemClock),
    fetchedTokens,
    changes: {
      wait: (changed, timeoutMs, signal) => signals.wait(signalKey(changed), timeoutMs, signal),
      any: (of, timeoutMs, signal) => signals.wait(of, timeoutMs, signal),
    },
    ...{ eventFeeds: new TenantFeeds(), watches: new Slots() },
  };
  // They work with all that the process shares, and are parts of it.
  const app = parts as App;
  const sender = new DeliverySender(app);
  app.deliveries = sender;
  const callLimits = new CallSettler(app);
  app.callLimits = callLimits;
  await callLimits.start();
  opened.push(() => callLimits.stop());
  observe(app, listener);
  return { app, sender, listener, readAudit, masterKey: masterKeys.current.name };
}

function relayOf(app: App, sink?: EventSink): EventRelay | null {
  const { kafka } = app.config;
  return kafka && new EventRelay(app, sink ?? new Kafka(kafka), kafka.topics);
}

/** Where browsers and providers reach this Latchkey. */
export function publicUrlOf({ publicUrl, tls }: Config, httpPort: number): string {
  return publicUrl || `${tls ? 'https' : 'http'}://localhost:${httpPort}`;
}

function catalogOf({ sandbox }: Config): ReadonlyMap<string, ProviderDefinition> {
  if (!sandbox.url) return builtIn;
  const entry = sandboxProvider(sandbox.url);
  return new Map([...builtIn, [entry.name, entry]]);
}

/** Two connections beyond the ordinary pool: storing what a refresh yielded waits for nobody (refresh.md, step 2). */
function openCommitPool({ database }: Config, log: Log): Pool {
  return openPool(log, 'a connection for commits was lost', {
    connectionString: database.url,
    max: 2,
    application_name: 'latchkey-commit',
    // One that went silent is given up while the lease still runs; the attempt's id tells what became of the statement.
    ...{ connectionTimeoutMillis: COMMIT_MS, query_timeout: COMMIT_MS },
    keepAlive: true,
  });
}

function openSidePool({ database }: Config, log: Log): Pool {
  return openPool(log, 'a connection for limits and health was lost', {
    connectionString: database.url,
    max: 2,
    application_name: 'latchkey-side',
    ...{ connectionTimeoutMillis: SIDE_MS, query_timeout: SIDE_MS },
    keepAlive: true,
  });
}

/** What the operator runs for all tenants. Its hosts, too, are the operator's word. */
function operatorInstances({ langflow }: Config, egress: Egress): ReadonlyMap<string, OperatorInstance> {
  const { baseUrl, adminKey } = langflow;
  if (!baseUrl) return new Map();
  const door = egress.allowing([new URL(baseUrl).hostname]);
  return new Map([['langflow', { baseUrl, adminKey: new SecretText(adminKey), door }]]);
}

function openUserService({ userService }: Config, egress: Egress): UserService | null {
  return userService && new UserService(userService, egress.allowing([new URL(userService.url).hostname]));
}

/** The issuer is the operator's word, so its host may be reached wherever it is; other hosts that its documents name must be public or allowed. */
function openIdentityProvider({ issuer, audience }: Config['identity'], egress: Egress): IdentityProvider {
  return new IdentityProvider(issuer, audience, egress.allowing([new URL(issuer).hostname]));
}

/** Gauges that are read when they are asked for. */
function observe({ metrics, pool, caches }: App, listener: ChangeListener): void {
  const registers = [metrics.registry];
  new Gauge({
    name: 'latchkey_database_pool_connections',
    help: 'Database connections by state (idle, busy), and callers that wait for one (waiting).',
    labelNames: ['state'] as const,
    registers,
    collect() {
      this.set({ state: 'idle' }, pool.idleCount);
      this.set({ state: 'busy' }, pool.totalCount - pool.idleCount);
      this.set({ state: 'waiting' }, pool.waitingCount);
    },
  });
  new Gauge({
    name: 'latchkey_cache_entries',
    help: 'Entries by cache.',
    labelNames: ['cache'] as const,
    registers,
    collect() {
      this.set({ cache: 'principals' }, caches.principals.size);
      this.set({ cache: 'credentials' }, caches.credentials.size);
    },
  });
  new Gauge({
    name: 'latchkey_listener_up',
    help: '1 while changes of other replicas are heard at once.',
    aggregator: 'min',
    registers,
    collect() {
      this.set(listener.up ? 1 : 0);
    },
  });
}
