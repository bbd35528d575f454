import { ApiKey } from './api-key.ts';
import { AuditEntry } from './audit-entry.ts';
import { Authorization } from './authorization.ts';
import { Connection } from './connection.ts';
import { ConnectionHealth } from './connection-health.ts';
import { Connector } from './connector.ts';
import { ConnectorState } from './connector-state.ts';
import { Credential } from './credential.ts';
import { CredentialSecretRef } from './credential-secret-ref.ts';
import { Delivery } from './delivery.ts';
import { EventEndpoint } from './event-endpoint.ts';
import { InboundEndpoint } from './inbound-endpoint.ts';
import { InboundMessage } from './inbound-message.ts';
import { Integration } from './integration.ts';
import { IntegrationSecret } from './integration-secret.ts';
import { OutboxEvent } from './outbox-event.ts';
import { CustomProvider } from './provider.ts';
import { ProviderAccount } from './provider-account.ts';
import { RequestMemo } from './request-memo.ts';
import { Revocation } from './revocation.ts';
import { Secret } from './secret.ts';
import { Tenant } from './tenant.ts';
import { User } from './user.ts';

/** All entities. */
export const entities = [
  ApiKey,
  AuditEntry,
  Authorization,
  Connection,
  ConnectionHealth,
  Connector,
  ConnectorState,
  Credential,
  CredentialSecretRef,
  CustomProvider,
  Delivery,
  EventEndpoint,
  InboundEndpoint,
  InboundMessage,
  Integration,
  IntegrationSecret,
  OutboxEvent,
  ProviderAccount,
  RequestMemo,
  Revocation,
  Secret,
  Tenant,
  User,
];
