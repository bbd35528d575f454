import { randomBytes } from 'node:crypto';
import { type Client, createClient, type Interceptor, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { pino } from 'pino';
import { AccessService } from '../../gen/latchkey/v1/access_service_pb.ts';
import { AuditService } from '../../gen/latchkey/v1/audit_service_pb.ts';
import { ConnectionService } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { ConnectorService } from '../../gen/latchkey/v1/connector_service_pb.ts';
import { EventService } from '../../gen/latchkey/v1/event_service_pb.ts';
import { IntegrationService } from '../../gen/latchkey/v1/integration_service_pb.ts';
import { LangflowService } from '../../gen/latchkey/v1/langflow_service_pb.ts';
import { SecretService } from '../../gen/latchkey/v1/secret_service_pb.ts';
import { StatusService } from '../../gen/latchkey/v1/status_service_pb.ts';
import { WebhookService } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { type Replica, startReplica } from '../../src/app.ts';
import { errorSummary } from '../../src/base/log.ts';
import type { EventSink } from '../../src/clients/kafka.ts';
import { readConfig } from '../../src/config.ts';
import type { ServiceHandlers } from '../../src/handlers/implement.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { AUDIENCE, TestIssuer } from './issuer.ts';

export const TRANSPORTS = ['grpc', 'connect', 'grpc-web'] as const;
export type TransportName = (typeof TRANSPORTS)[number];
export const ADMIN_KEY = 'the-operators-key-of-the-tests-0123456789';

/** The environment that test servers share. */
export function testEnv(
  database: { url: string; migrationUrl: string },
  masterKey: string,
  extra: Record<string, string> = {},
) {
  return {
    HOST: '127.0.0.1',
    GRPC_PORT: '0',
    HTTP_PORT: '0',
    DATABASE_URL: database.url,
    DATABASE_MIGRATION_URL: database.migrationUrl,
    LATCHKEY_MASTER_KEY: masterKey,
    LATCHKEY_ADMIN_KEY: ADMIN_KEY,
    LOG_LEVEL: 'debug',
    SHUTDOWN_GRACE_MS: '5000',
    ...extra,
  };
}

/** What the roles of `as` map from. */
export const ROLE_ENV = {
  OIDC_AUDIENCE: AUDIENCE,
  OIDC_ROLE_ADMIN: 'admins',
  OIDC_ROLE_RESOURCE_MANAGER: 'managers',
  OIDC_ROLE_APPROVER: 'approvers',
  OIDC_ROLE_REQUESTOR: 'requestors',
};
const GROUP_OF_ROLE = { admin: 'admins', resource_manager: 'managers', approver: 'approvers', requestor: 'requestors' };
export type Role = keyof typeof GROUP_OF_ROLE;

export type Clients = {
  connections: Client<typeof ConnectionService>;
  integrations: Client<typeof IntegrationService>;
  langflow: Client<typeof LangflowService>;
  secrets: Client<typeof SecretService>;
  webhooks: Client<typeof WebhookService>;
  connectors: Client<typeof ConnectorService>;
  access: Client<typeof AccessService>;
  audit: Client<typeof AuditService>;
  events: Client<typeof EventService>;
  status: Client<typeof StatusService>;
};

type Options = {
  env?: Record<string, string>;
  services?: readonly ServiceHandlers[];
  database?: TestDatabase;
  masterKey?: string;
  /** In place of Kafka. */
  eventSink?: EventSink;
};

/** Our server in this process, on free ports, with a real database and a real issuer. */
export class TestServer {
  readonly replica: Replica;
  readonly database: TestDatabase;
  readonly issuer: TestIssuer;
  readonly masterKey: string;
  /** What was logged, a line each. */
  readonly logLines: string[];
  readonly #ownsDatabase: boolean;

  private constructor(
    parts: Pick<TestServer, 'replica' | 'database' | 'issuer' | 'masterKey' | 'logLines'>,
    ownsDatabase: boolean,
  ) {
    this.replica = parts.replica;
    this.database = parts.database;
    this.issuer = parts.issuer;
    this.masterKey = parts.masterKey;
    this.logLines = parts.logLines;
    this.#ownsDatabase = ownsDatabase;
  }

  static async start({
    env = {},
    services,
    database: given,
    masterKey = newMasterKey(),
    eventSink,
  }: Options = {}): Promise<TestServer> {
    const database = given ?? (await createTestDatabase());
    const issuer = await TestIssuer.start();
    const logLines: string[] = [];
    const config = readConfig(testEnv(database, masterKey, { OIDC_ISSUER: issuer.url, ...ROLE_ENV, ...env }));
    const log = pino(
      { level: config.logLevel, base: null, messageKey: 'message', serializers: { err: errorSummary } },
      { write: (line: string) => void logLines.push(line) },
    );
    const unfit = (error: Error) => {
      throw error;
    };
    const replica = await startReplica({
      ...{ config, log, unfit },
      ...(services ? { services } : {}),
      ...(eventSink ? { eventSink } : {}),
    });
    return new TestServer({ replica, database, issuer, masterKey, logLines }, given === undefined);
  }

  async stop(): Promise<void> {
    await this.replica.stop();
    await this.issuer.stop();
    if (this.#ownsDatabase) await this.database.drop();
  }

  get httpUrl(): string {
    return `http://127.0.0.1:${this.replica.httpPort}`;
  }

  /** A transport that sends these headers. */
  transport(name: TransportName, headers: Record<string, string> = {}): Transport {
    return transportTo(name, this.replica, headers);
  }

  clients(name: TransportName, headers: Record<string, string> = {}): Clients {
    return clientsOf(this.transport(name, headers));
  }

  /** Clients with the operator's key. */
  operator(name: TransportName = 'grpc'): Clients {
    return this.clients(name, { authorization: `Bearer ${ADMIN_KEY}` });
  }

  /** Clients of a user with a role; the same subject is the same user. */
  async as(
    role: Role,
    { tenant, subject = role, transport = 'grpc' }: { tenant: string; subject?: string; transport?: TransportName },
  ): Promise<Clients> {
    return this.clients(transport, { authorization: `Bearer ${await this.token(role, { tenant, subject })}` });
  }

  token(role: Role, { tenant, subject = role }: { tenant: string; subject?: string }): Promise<string> {
    return this.issuer.token({
      sub: subject,
      tenant_id: tenant,
      groups: [GROUP_OF_ROLE[role]],
      email: `${subject}@example.com`,
      name: subject,
    });
  }
}

export function newMasterKey(): string {
  return randomBytes(32).toString('base64');
}

export function transportTo(
  name: TransportName,
  ports: { grpcPort: number; httpPort: number },
  headers: Record<string, string> = {},
): Transport {
  const addHeaders: Interceptor = (next) => (request) => {
    for (const [key, value] of Object.entries(headers)) request.header.set(key, value);
    return next(request);
  };
  const interceptors = [addHeaders];
  const http = `http://127.0.0.1:${ports.httpPort}`;
  if (name === 'grpc') return createGrpcTransport({ baseUrl: `http://127.0.0.1:${ports.grpcPort}`, interceptors });
  if (name === 'connect')
    return createConnectTransport({ baseUrl: http, httpVersion: '1.1', useBinaryFormat: false, interceptors });
  return createGrpcWebTransport({ baseUrl: http, httpVersion: '1.1', interceptors });
}

export function clientsOf(transport: Transport): Clients {
  return {
    connections: createClient(ConnectionService, transport),
    integrations: createClient(IntegrationService, transport),
    langflow: createClient(LangflowService, transport),
    secrets: createClient(SecretService, transport),
    webhooks: createClient(WebhookService, transport),
    connectors: createClient(ConnectorService, transport),
    access: createClient(AccessService, transport),
    audit: createClient(AuditService, transport),
    events: createClient(EventService, transport),
    status: createClient(StatusService, transport),
  };
}
