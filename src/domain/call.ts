import type { Pool } from 'pg';
import type { ReplicaCache } from '../base/cache.ts';
import type { Clock } from '../base/clock.ts';
import type { Gatherer } from '../base/gatherer.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Pauses } from '../base/pauses.ts';
import type { Rates } from '../base/rates.ts';
import type { Recent } from '../base/recent.ts';
import type { SecretText } from '../base/secret-text.ts';
import type { Rate } from '../base/shared-bucket.ts';
import type { Slots } from '../base/slots.ts';
import type { IdentityProvider } from '../clients/identity-provider.ts';
import type { UserService } from '../clients/user-service.ts';
import type { Config } from '../config.ts';
import type { Keyring } from '../crypto/keyring.ts';
import type { CredentialRow } from '../db/credential-rows.ts';
import type { Changed } from '../db/listen.ts';
import type { Orm } from '../db/orm.ts';
import type { PageTokens } from '../db/paging.ts';
import type { Egress } from '../egress/egress.ts';
import type { ActorKind, ReadEntry } from '../model/audit-entry.ts';
import type { CredentialKind, StoredStatus } from '../model/connection.ts';
import type { SignatureDescription } from '../model/inbound-endpoint.ts';
import type { Integration } from '../model/integration.ts';
import type { JsonObject } from '../model/json.ts';
import type { EventRow } from '../model/outbox-event.ts';
import type { OAuthClient } from '../oauth/client.ts';
import type { ProviderDefinition } from '../providers/types.ts';
import type { Deliveries } from './deliveries.ts';

/** What the whole process shares, built once. */
export type App = {
  config: Config;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  orm: Orm;
  /** The pool beneath `orm`, for the hot path. */
  pool: Pool;
  /** What is stored of credentials, by tenant and connection. */
  credentialRows: Gatherer<CredentialRow>;
  keyring: Keyring;
  pageTokens: PageTokens;
  auditKeys: AuditKeys;
  /** Hides what requests said in the hashes that are kept of them. */
  requestHashKey: Buffer;
  /** The one door for outbound HTTP calls. */
  egress: Egress;
  /** The built-in providers, by name. */
  catalog: ReadonlyMap<string, ProviderDefinition>;
  /** Flows that were seen to be an account's own, a moment ago. */
  ownFlows: Recent;
  /** Runs of flows under way, by tenant. */
  flowRuns: Slots;
  /** What inbound endpoints take up in this process. */
  inbound: InboundTraffic;
  /** Providers of which tenants may have instances of their own. */
  tenantInstances: ReadonlySet<string>;
  /** Providers that the operator runs for all tenants, by name. */
  operatorInstances: ReadonlyMap<string, OperatorInstance>;
  /** Logins that providers told this process to put off, by instance. */
  loginPauses: Pauses;
  /** What this process knows of the health of providers. */
  providerHealth: ProviderHealthLog;
  /** Also keeps accounts; null where none is configured. */
  userService: UserService | null;
  /** Null where no issuer is configured. */
  identityProvider: IdentityProvider | null;
  /** Where browsers and providers reach this service, without `/` at the end. Known once it listens. */
  publicUrl: string;
  /** Signs links that carry what they are about. */
  linkKey: Buffer;
  caches: Caches;
  /** Names this process among the replicas. */
  replicaId: string;
  /** Connections that are kept for storing what refreshes yield, so that nothing else can keep it waiting. */
  commitPool: Pool;
  /** Connections for what says how it goes, and must not wait where all others are busy: the limits of calls, health. */
  sidePool: Pool;
  /** Refreshes under way. */
  refreshes: Refreshes;
  /** Tokens that are fetched when they are used. */
  fetchedTokens: FetchedTokens;
  /** Credentials that were renewed a moment ago because the other side had refused those before. */
  renewedAfterRefusal: Recent;
  /** Wakes who waits for something to change, on this replica or another. */
  changes: ChangeSignals;
  readAudit: ReadAudit;
  callLimits: CallLimits;
  /** Credentials that were refused, by the network they came from; in this process. */
  refusedCredentials: Rates;
  usage: Usage;
  deliveries: Deliveries;
  /** What happens, for those who watch it. */
  eventFeeds: EventFeeds;
  /** Watches of events under way, by tenant. */
  watches: Slots;
  /** How this process does, as far as it knows. */
  status(): SystemStatus;
  /** Drops what this process remembers of something that changed. */
  forget(change: Changed): void;
};

/** `down`: calls cannot be answered. `degraded`: something does not do well. */
export type SystemStatus = { status: 'up' | 'degraded' | 'down'; dependencies: Dependency[] };
/** Something that the service stands on. */
export type Dependency = {
  name: string;
  /** `unknown`: nothing was heard of it lately. */
  status: 'up' | 'degraded' | 'down' | 'unknown';
  since: Date;
  /** Null: it is not asked, or did not answer. */
  latencyMs: number | null;
  /** What is wrong, for the operator; empty: nothing. */
  detail: string;
};

/** What the audit log is proved with, so that whoever has the database alone can neither forge nor mend it. */
export type AuditKeys = {
  /** Proves ids of entries; as text, because it is hashed with text. */
  ids: string;
  /** Proves the chain. */
  seals: Buffer;
};

/** A provider that the operator runs for all tenants. Its host may be reached by this door wherever it is. */
export type OperatorInstance = { baseUrl: string; adminKey: SecretText; door: Pick<Egress, 'fetch' | 'stream'> };

/** How providers did of late, as far as this process called them. */
export type ProviderHealthLog = {
  /** Notes that a call of a built-in provider was answered as it should, or failed for a reason that is the provider's. */
  note(provider: string, well: boolean): void;
  /** Null: nothing was heard within the last minutes. */
  recent(provider: string): { calls: number; failures: number; time: number } | null;
  /** What `check` found out, at most once in some seconds for a key. */
  checked<T extends object>(key: string, check: () => Promise<T>): Promise<T>;
};

export type Caches = {
  /** By hash of the presented credential. */
  principals: ReplicaCache<Principal>;
  /** By tenant and connection. */
  credentials: ReplicaCache<ReadyCredential>;
  /** What steps of OAuth need of integrations, their secrets open; by tenant and integration. */
  oauthSetups: ReplicaCache<OAuthSetup>;
  /** By id, for a URL says no tenant. */
  inboundEndpoints: ReplicaCache<ReadyInboundEndpoint>;
};

export type InboundTraffic = {
  /** Messages under way: in all, by endpoint, and the bytes that their bodies may take. */
  slots: Slots;
  /** Verified messages, by endpoint. */
  rates: Rates;
  /** What was recorded a moment ago and is not again, so that a flood does not fill the audit log: refusals by endpoint, values that do not open. */
  refusals: Recent;
};

/** How messages of an endpoint are verified. Names of headers are in lower case. */
export type InboundRules = {
  signature: SignatureDescription | null;
  /** A shared secret in a header, after the prefix. */
  token: { header: string; prefix: string } | null;
  /** Where the sender's id of a message is; empty: nowhere. */
  idHeader: string;
  idPointer: string;
  /** Headers of the scheme's own to keep. */
  keepHeaders: readonly string[];
  /** Whether Slack's url_verification is answered. */
  answersUrlVerification: boolean;
};

/** An inbound endpoint with its secrets open. Shared: it must not be changed. */
export type ReadyInboundEndpoint = {
  tenantId: string;
  id: string;
  enabled: boolean;
  rules: InboundRules;
  secrets: readonly string[];
  maxBodyBytes: number;
  maxPerMinute: number;
  retentionDays: number;
  /** In lower case. */
  keepHeaders: readonly string[];
};

/** Refreshes under way in this process, one for each connection and generation, and never more at once than is allowed. */
export type Refreshes = {
  /** The outcome of the refresh that is under way, or of the one that `run` begins. Null: it was left to another replica. */
  share(credential: ReadyCredential, run: () => Promise<RefreshOutcome | null>): Promise<RefreshOutcome | null>;
  /** Runs with one of the permits, of which a client at a token endpoint gets a part. */
  withPermit<T>(client: string, work: () => Promise<T>): Promise<T>;
  /** Obtains a grant and stores it: until then the process does not end. */
  hold<T>(obtaining: () => Promise<T>): Promise<T>;
};

/** How a refresh ended. */
export type RefreshOutcome =
  /** The connection has another generation or status than was seen: whoever asks looks again. */
  | { kind: 'moved'; refreshed: boolean }
  /** Not now; the error is for who has no token to go on with. */
  | { kind: 'failed'; error: Error };

/** Tokens that are fetched for a use and kept until they expire, in this process. Fetches of one key are shared. */
export type FetchedTokens = {
  /** The token at hand if it lives `minLeftMs` longer, else one that is fetched. */
  get(key: string, minLeftMs: number, fetch: () => Promise<FetchedToken>): Promise<FetchedToken>;
  /** Forgets a token that was refused. */
  drop(token: string): void;
  /** Forgets those of a tenant, whose id leads their keys. */
  forget(tenantId: string): void;
};
export type FetchedToken = {
  token: string;
  scopes: string[];
  expireTime: Date;
  /** Seconds that it lived when it was new. */
  lifetimeS: number;
  /** When to fetch another, in ms since the epoch. */
  until: number;
};

/** Hints that a row may have changed. */
export type ChangeSignals = {
  /** Resolves at the next change of `kind` and `id`, after `timeoutMs`, or when the signal aborts. */
  wait(changed: Changed, timeoutMs: number, signal: AbortSignal): Promise<void>;
  /** The same at the next news of events, or of anything else. */
  any(of: 'event' | 'change', timeoutMs: number, signal: AbortSignal): Promise<void>;
};

/** What happens in the tenants that somebody watches. */
export type EventFeeds = {
  /** Fails with SHUTTING_DOWN. */
  open(app: App, tenantId: string): Promise<{ feed: EventFeed; close(): void }>;
  /** Ends all watches. */
  stop(): Promise<void>;
};
export type EventFeed = {
  /**
   * Events after a position, a page at most: at once where there are some, else when there are, after `timeoutMs` without any, or when the signal aborts. `position`:
   * where to go on; `time`: up to when nothing before that is missing, in ms since the epoch, where that is known. Fails with SHUTTING_DOWN.
   */
  after(
    position: number,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<{ rows: EventRow[]; position: number; time: number | null }>;
};

/** A provider as one tenant knows it. */
export type KnownProvider = { definition: ProviderDefinition; custom: boolean; etag: string };

/** An integration with all that a step of OAuth needs of it. Shared: it must not be changed. */
export type OAuthSetup = {
  integration: Integration;
  provider: KnownProvider;
  /** Values of the parameters in the provider's URLs. */
  parameters: Record<string, string>;
  client: OAuthClient;
  /** The client's fetch, with all that the door takes. */
  fetch: Egress['fetch'];
};

/** Where entries about reads go, which change nothing and so have no transaction to be in. */
export type ReadAudit = {
  /** Throws AUDIT_UNAVAILABLE where entries cannot be kept. Strict: when it resolves, the entry is written. */
  record(entry: ReadEntry): void | Promise<void>;
  /** Notes that a connection was used, to the minute. */
  used(tenantId: string, connectionId: string): void;
};

/** How many calls are made by tenants and callers, on all replicas. */
export type CallLimits = {
  /** Counts a call; answers what refuses it, if anything does. */
  take(principal: Principal, rates: CallRates): RefusedCall | null;
};
export type RefusedCall = { limit: 'tenant' | 'caller'; rate: Rate; waitMs: number };
/** Null: any number. */
export type CallRates = { tenant: Rate | null; caller: Rate | null };

/** Counts calls with connections, to be written down some seconds later. */
export type Usage = {
  called(tenantId: string, connectionId: string, outcome: CallOutcome): void;
};
/** How a call with a connection ended; `rate_limited`: the other side refused it as one too many. */
export type CallOutcome = 'ok' | 'error' | 'rate_limited';

/** Who calls, and what they may do. */
export type Principal = {
  tenantId: string;
  kind: ActorKind;
  /** User id or API key id. */
  id: string;
  /** The user whose own things are the caller's: the user, or the one an API key acts for. */
  userId: string | null;
  /** Permissions for the whole tenant. */
  permissions: ReadonlySet<string>;
  /** Permissions for what `userId` owns. */
  ownPermissions: ReadonlySet<string>;
  /** Roles that a user was assigned here when they were looked at; others have none. */
  assignedRoles?: readonly string[];
  /** Projects the caller is limited to; null: all. */
  projectIds: readonly string[] | null;
  /** Sees what users own, too. */
  administrator: boolean;
  /** ms since the epoch; the credential ends then. */
  expiresAt: number;
  /** How many calls they may make; null: any number. */
  rates: CallRates | null;
};

/** What a tool beside the servers shares: as much as it takes to change something. */
export type ToolApp = Pick<App, 'clock' | 'orm' | 'auditKeys' | 'requestHashKey' | 'forget'> & {
  config: Pick<App['config'], 'callRates'>;
};
/** A call of a server, or of such a tool. */
export type ToolCall = Call<ToolApp>;

/** One call. */
export type Call<Shared = App> = {
  app: Shared;
  principal: Principal;
  /** Answered in metadata and written into log and audit. */
  requestId: string;
  /** Network address of the caller. */
  address: string;
  /** Aborted when the caller goes away or the deadline passes. */
  signal: AbortSignal;
};

/** A credential with its secrets open, as it is handed out. */
export type ReadyCredential = {
  tenantId: string;
  connectionId: string;
  projectId: string | null;
  ownerUserId: string | null;
  enabled: boolean;
  provider: string;
  status: StoredStatus;
  statusReason: string;
  integrationId: string | null;
  /** True where there is no integration. */
  integrationEnabled: boolean;
  /** Scopes that its integration requires and that were not granted. */
  missingRequiredScopes: string[];
  kind: CredentialKind;
  generation: number;
  fields: JsonObject;
  secrets: Record<string, string>;
  /** Secrets referred to that do not exist, by field. */
  missing: { field: string; name: string }[];
  /** Ids of the named secrets in it. */
  secretIds: string[];
  expireTime: Date | null;
  /** Seconds that its access token lived when it was new, where that is known. */
  lifetimeS: number | null;
  /** Why it is not as fresh as it should be, where that is so: a reason of the contract. */
  warning?: string;
  /** Its token was fetched for the use, and can be fetched anew. */
  fetched?: true;
  /** What requests with it obey. */
  requests: RequestSettings;
};

/** What every request of a connection obeys. */
export type RequestSettings = {
  /** Empty: it has none. */
  baseUrl: string;
  /** Hosts beside that of the base URL, in lower case; `*.example.com` for all under it. */
  allowedHosts: string[];
  defaultHeaders: Record<string, string>;
  timeoutMs: number;
  retries: number;
  backoffMs: number;
};
