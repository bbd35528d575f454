import { LockMode } from '@mikro-orm/core';
import { EventEndpoint } from '../../model/event-endpoint.ts';
import { systemCall } from '../access/principal.ts';
import { audit } from '../audit/audit.ts';
import type { App } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';

type Failures = { enabled: boolean; failingSince: Date | null; failedTime: Date | null };

/** Whether an endpoint has failed for so long without one success that nothing more is sent to it: from its first failure to its last. */
export function hasFailedFor({ enabled, failingSince, failedTime }: Failures, ms: number): boolean {
  return enabled && failingSince !== null && failedTime !== null && failedTime.getTime() - failingSince.getTime() >= ms;
}

/** Disables an endpoint that said at a URL that it is gone. Answers false where that is not its URL any more, or it was deleted. */
export async function disableGone(app: App, tenantId: string, id: string, url: string): Promise<boolean> {
  const endpoint = await disable(app, tenantId, id, 'gone', (found) => found.enabled && found.url === url);
  return endpoint?.url === url;
}

/** Disables an endpoint that has failed for as many days as the operator says. */
export async function disableFailing(app: App, tenantId: string, id: string): Promise<void> {
  const ms = app.config.endpointFailingDays * 86_400_000;
  await disable(app, tenantId, id, 'failing', (endpoint) => hasFailedFor(endpoint, ms));
}

function disable(
  app: App,
  tenantId: string,
  id: string,
  reason: 'gone' | 'failing',
  due: (endpoint: EventEndpoint) => boolean,
): Promise<EventEndpoint | null> {
  const call = systemCall(app, tenantId);
  return change(call, async (em) => {
    const endpoint = await em.findOne(EventEndpoint, { tenantId, id }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (!endpoint || !due(endpoint)) return endpoint;
    const before = endpoint.summary();
    endpoint.disable(reason);
    endpoint.changed(new Date(app.clock.now()));
    const after = { ...endpoint.summary(), failing_since: endpoint.failingSince?.toISOString() ?? null };
    audit(em, call, 'event_endpoint_disabled', { type: 'event_endpoint', id }, { before, after });
    event(em, call, 'event_endpoint.disabled', endpoint.aggregate(), after);
    return endpoint;
  });
}
