import { Repeating } from '../base/repeating.ts';
import { hot } from '../db/hot.ts';
import { enqueue } from '../db/jobs.ts';
import { closeAuthorization } from '../domain/authorizations/close-authorization.ts';
import type { App } from '../domain/call.ts';
import { changeIn } from '../domain/change.ts';
import { deleteOldTurns } from '../domain/checks/delete-old-turns.ts';
import { deleteInboundMessages } from '../domain/inbound/purge-inbound-messages.ts';
import { tellExpired, warnOfExpiry } from '../domain/tokens/warn-of-expiry.ts';
import { deleteOldUsage } from '../domain/usage/delete-old-usage.ts';
import { Revocation } from '../model/revocation.ts';

type Route = { tenant_id: string; id: string };

const EVERY_MS = 60_000;
const MOST_AT_ONCE = 500;
const DELIVERIES_AT_ONCE = 5_000;
const EVENTS_AT_ONCE = 5_000;
/** A tenant that should be gone by then was forgotten. */
const REMOVAL_LATE_MS = 600_000;
/** Long enough for any bucket to be full again, or to be forgotten with what it owes. */
const RATE_BUCKETS_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** A cursor that has just not expired finds all that came after it, although some of that began a moment before. */
const REAPED_LATER_MS = 3_600_000;

/**
 * Says what ends within a week and what has ended, ends what time has ended, and deletes what nobody asks for any more: authorizations a week after their end,
 * revocations a month after they were settled, usage after 90 days, turns of limited calls after an hour, events, deliveries and inbound messages after their retention. Sees to it that deleted tenants go.
 */
export class Housekeeper {
  readonly #app: App;
  readonly #cleanings: Repeating;
  #stopped = false;

  constructor(app: App) {
    this.#app = app;
    const options = { everyMs: EVERY_MS, log: app.log, failure: 'what has ended was not cleaned up' };
    this.#cleanings = new Repeating(options, () => this.clean());
  }

  start(): void {
    this.#cleanings.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#cleanings.stop();
  }

  async clean(): Promise<void> {
    const app = this.#app;
    const expiring = await hot<Route>(app.pool, 'routeExpiringGrants', [MOST_AT_ONCE]);
    for (const { tenant_id: tenantId, id } of expiring) await warnOfExpiry(app, tenantId, id);
    const expired = await hot<Route>(app.pool, 'routeExpiredCredentials', [MOST_AT_ONCE]);
    for (const { tenant_id: tenantId, id } of expired) await tellExpired(app, tenantId, id);
    const ended = await hot<Route>(app.pool, 'routeEndedAuthorizations', [MOST_AT_ONCE]);
    for (const { tenant_id: tenantId, id } of ended) await closeAuthorization(app, tenantId, id);
    const settled = await hot<Route>(app.pool, 'routeSettledRevocations', [MOST_AT_ONCE]);
    for (const { tenant_id: tenantId, id } of settled)
      await changeIn(app, tenantId, (em) => em.nativeDelete(Revocation, { tenantId, id }));
    const used = await hot<{ tenant_id: string }>(app.pool, 'routeOldUsage', []);
    for (const { tenant_id: tenantId } of used) await deleteOldUsage(app, tenantId);
    const turned = await hot<{ tenant_id: string }>(app.pool, 'routeOldRateWindows', []);
    for (const { tenant_id: tenantId } of turned) await deleteOldTurns(app, tenantId);
    await this.#remindOfTenants();
    await this.#reapDeliveries();
    await this.#expireInboundMessages();
    await this.#reapEvents();
    await hot(app.pool, 'reapRateBuckets', [RATE_BUCKETS_MS]);
  }

  async #remindOfTenants(): Promise<void> {
    const app = this.#app;
    const overdue = await hot<Route>(app.pool, 'routeOverdueTenants', [REMOVAL_LATE_MS, MOST_AT_ONCE]);
    for (const { tenant_id: tenantId } of overdue) {
      const key = `remove_tenant ${tenantId} ${tenantId}`;
      await changeIn(app, tenantId, (em) => enqueue(em, 'remove_tenant', { tenantId, id: tenantId }, { key }));
    }
  }

  /** There can be thousands a second. */
  async #reapDeliveries(): Promise<void> {
    const { pool, config } = this.#app;
    for (;;) {
      const settled = await hot<Route>(pool, 'routeSettledDeliveries', [config.retentionDays, DELIVERIES_AT_ONCE]);
      const ids = Map.groupBy(settled, (route) => route.tenant_id);
      const byTenant = [...ids].map(([tenantId, routes]) => [tenantId, routes.map(({ id }) => id)]);
      if (settled.length > 0) await hot(pool, 'reapDeliveries', [JSON.stringify(Object.fromEntries(byTenant))]);
      if (settled.length < DELIVERIES_AT_ONCE || this.#stopped) return;
    }
  }

  /** As many as there are, for there may be more a minute than fit into one batch. */
  async #expireInboundMessages(): Promise<void> {
    const app = this.#app;
    for (;;) {
      const expired = await hot<Route>(app.pool, 'routeExpiredInboundMessages', [MOST_AT_ONCE]);
      const byTenant = Map.groupBy(expired, ({ tenant_id }) => tenant_id);
      for (const [tenantId, routes] of byTenant)
        await deleteInboundMessages(
          app,
          tenantId,
          routes.map(({ id }) => id),
        );
      if (expired.length < MOST_AT_ONCE || this.#stopped) return;
    }
  }

  async #reapEvents(): Promise<void> {
    const { pool, config } = this.#app;
    for (;;) {
      const [row] = await hot<{ reaped: number }>(pool, 'reapEvents', [
        config.retentionDays * DAY_MS + REAPED_LATER_MS,
        EVENTS_AT_ONCE,
      ]);
      if (row!.reaped < EVENTS_AT_ONCE) return;
    }
  }
}
