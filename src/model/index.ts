import { ApiKey } from './api-key.ts';
import { AuditEntry } from './audit-entry.ts';
import { Connection } from './connection.ts';
import { Credential } from './credential.ts';
import { CredentialSecretRef } from './credential-secret-ref.ts';
import { OutboxEvent } from './outbox-event.ts';
import { RequestMemo } from './request-memo.ts';
import { Secret } from './secret.ts';
import { Tenant } from './tenant.ts';
import { User } from './user.ts';

/** All entities. */
export const entities = [
  ApiKey,
  AuditEntry,
  Connection,
  Credential,
  CredentialSecretRef,
  OutboxEvent,
  RequestMemo,
  Secret,
  Tenant,
  User,
];
