import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';

export const DELIVERY_STATUSES = ['PENDING', 'DELIVERING', 'SUCCEEDED', 'FAILED', 'SKIPPED'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

/** What a delivery is for. */
export type DeliveryPurpose = 'webhook' | 'event' | 'test_event';

/** An attempt, as it is kept. */
export type DeliveryAttempt = {
  /** ms since the epoch. */
  time: number;
  durationMs: number;
  /** Of the answer; 0: there was none. */
  statusCode: number;
  /** Empty: it succeeded. */
  error: string;
};

/** A request that is to reach somebody else at least once. */
const schema = defineEntity({
  name: 'Delivery',
  tableName: 'delivery',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    /** What the other side knows it by, the same at each attempt. */
    messageId: p.text(),
    purpose: p.text().$type<DeliveryPurpose>(),
    /** Whose credential goes with it. */
    connectionId: p.text().strictNullable(),
    /** Whose secrets it is signed with, a connection's or an endpoint's; empty: it is not. */
    signedBy: p.text(),
    ownerUserId: p.text().strictNullable(),
    projectId: p.text().strictNullable(),
    host: p.text(),
    /** Those of one lane wait for one another. */
    lane: p.integer(),
    method: p.text(),
    /** URL, headers and body; null once it has arrived. */
    sealed: p.blob().strictNullable(),
    timeoutMs: p.integer(),
    backoffMs: p.integer(),
    maxAttempts: p.integer(),
    /** Of those that count towards `maxAttempts`. */
    attemptCount: p.integer(),
    attempts: p.json<DeliveryAttempt[]>(),
    status: p.text().$type<DeliveryStatus>(),
    error: p.text(),
    /** Somebody waits for the outcome. */
    awaited: p.boolean(),
    /** When to try it; while it is being sent, the end of the lease. */
    dueTime: p.datetime(),
    leaseEpoch: p.integer(),
    createTime: p.datetime(),
    settleTime: p.datetime().strictNullable(),
  },
});

export class Delivery extends schema.class {}
schema.setClass(Delivery);

/** What is shown of a delivery. */
export type DeliveryView = Pick<
  Delivery,
  | 'id'
  | 'host'
  | 'method'
  | 'connectionId'
  | 'projectId'
  | 'ownerUserId'
  | 'signedBy'
  | 'messageId'
  | 'purpose'
  | 'status'
  | 'error'
  | 'attempts'
  | 'maxAttempts'
  | 'timeoutMs'
  | 'backoffMs'
  | 'dueTime'
  | 'createTime'
  | 'settleTime'
>;

/** Where a delivery's request is sealed for. */
export function deliveryPlace(tenantId: string, id: string): Place {
  return { tenantId, table: 'delivery', column: 'sealed', rowId: id, generation: 0 };
}
