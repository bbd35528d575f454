import { defineEntity, p } from '@mikro-orm/core';

export const HEALTHS = ['UNKNOWN', 'HEALTHY', 'UNHEALTHY'] as const;
export type Health = (typeof HEALTHS)[number];

/** What a check found out; the contract's ConnectionCheckStatus says what each means. */
export const CHECK_STATUSES = [
  'VALID',
  'RESTRICTED',
  'INVALID',
  'UNREACHABLE',
  'UNKNOWN',
  'RATE_LIMITED',
  'DISABLED',
  'PENDING',
  'REVOKED',
  'REAUTHORIZATION_REQUIRED',
  'EXPIRED',
  'MISCONFIGURED',
  'UNSUPPORTED',
] as const;
export type CheckStatus = (typeof CHECK_STATUSES)[number];

/** What checks found out of a connection, and when the next is due. */
const schema = defineEntity({
  name: 'ConnectionHealth',
  tableName: 'connection_health',
  properties: {
    tenantId: p.text().primary(),
    connectionId: p.text().primary(),
    health: p.text().$type<Health>(),
    since: p.datetime().strictNullable(),
    /** Failed checks since the last that succeeded. */
    failures: p.integer(),
    /** Successful checks since the last that failed. */
    successes: p.integer(),
    /** Empty: it was not checked yet. */
    lastStatus: p.text().$type<CheckStatus | ''>(),
    lastMessage: p.text(),
    /** Null: it is not checked by itself. */
    checkDue: p.datetime().strictNullable(),
    leaseUntil: p.datetime().strictNullable(),
    leaseEpoch: p.integer(),
  },
});

export class ConnectionHealth extends schema.class {}
schema.setClass(ConnectionHealth);
