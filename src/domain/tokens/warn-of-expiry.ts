import { LockMode } from '@mikro-orm/core';
import { Connection } from '../../model/connection.ts';
import { Credential } from '../../model/credential.ts';
import { systemCall } from '../access/principal.ts';
import type { App } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';

/** Says once, a week ahead, that a grant ends unless a person grants access again, or a credential that nothing renews: the event `connection.expiring`. */
export function warnOfExpiry(app: App, tenantId: string, connectionId: string): Promise<void> {
  const call = systemCall(app, tenantId);
  return change(call, async (em) => {
    const credential = await em.findOne(Credential, { tenantId, connectionId, expiryWarned: false });
    const connection = await em.findOne(Connection, { tenantId, id: connectionId });
    if (!credential || !connection) return;
    await em.nativeUpdate(Credential, { tenantId, connectionId }, { expiryWarned: true });
    if (connection.status !== 'ACTIVE') return;
    event(em, call, 'connection.expiring', tokenOf(connection, credential), expiryOf(connection, credential));
  });
}

/** Says once a generation that a credential has expired which nothing renews, or which renewing fails of: the event `connection.expired`. */
export function tellExpired(app: App, tenantId: string, connectionId: string): Promise<void> {
  const call = systemCall(app, tenantId);
  return change(call, async (em) => {
    const key = { tenantId, connectionId };
    // Locked, so that of replicas that look at once one says it, and no refresh comes between.
    const credential = await em.findOne(Credential, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
    const connection = await em.findOne(Connection, { tenantId, id: connectionId });
    if (!credential || !connection || !hasEnded(app, credential)) return;
    credential.expiredGeneration = credential.generation;
    if (connection.status !== 'ACTIVE' && connection.status !== 'REAUTHORIZATION_REQUIRED') return;
    event(em, call, 'connection.expired', tokenOf(connection, credential), expiryOf(connection, credential));
    announce(em, { kind: 'connection', tenantId, id: connectionId });
  });
}

function hasEnded({ clock }: App, { expireTime, expiredGeneration, generation }: Credential): boolean {
  return expireTime !== null && expireTime.getTime() <= clock.now() && expiredGeneration < generation;
}

function tokenOf(connection: Connection, { generation }: Credential) {
  return { ...connection.aggregate(), generation };
}

function expiryOf({ provider, providerAccountId }: Connection, { expireTime, refreshExpireTime }: Credential) {
  return {
    ...{ provider, provider_account_id: providerAccountId },
    expire_time: expireTime?.toISOString() ?? null,
    refresh_expire_time: refreshExpireTime?.toISOString() ?? null,
  };
}
