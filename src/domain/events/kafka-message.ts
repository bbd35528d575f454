import type { OutgoingMessage } from '../../clients/kafka.ts';
import type { KafkaSettings } from '../../config.ts';
import type { EventRow } from '../../model/outbox-event.ts';
import { EVENT_TYPES, isEventType } from './event-types.ts';

/**
 * What of an event is sent; null: nothing. Two topics have the forms of the token manager that platforms know already: `token` about connections, `entity` about
 * integrations. All else goes to `other`, if there is such a topic, by what it is about.
 */
export function kafkaMessage(
  topics: KafkaSettings['topics'],
  publicUrl: string,
  event: EventRow,
): OutgoingMessage | null {
  const known = isEventType(event.type) ? EVENT_TYPES[event.type](event.payload) : null;
  if (known?.topic === 'token') return tokenMessage(topics.token, known.eventType, event);
  if (known?.topic === 'entity') return entityMessage(topics.entity, known.eventType, publicUrl, event);
  return topics.other ? otherMessage(topics.other, event) : null;
}

function tokenMessage(topic: string, eventType: string, event: EventRow): OutgoingMessage {
  const { id: eventId, aggregateId: tokenReferenceId, payload, createTime } = event;
  const serviceType = text(payload.provider);
  const accountId = text(payload.provider_account_id);
  const value = { eventId, eventType, tokenReferenceId, serviceType, accountId, timestamp: createTime.getTime() };
  return { topic, key: `${tokenReferenceId}-${serviceType}`, value: JSON.stringify(value), headers: {} };
}

function entityMessage(
  topic: string,
  eventType: 'appEnabled' | 'appDisabled',
  publicUrl: string,
  { tenantId: orgId, payload: integration, createTime }: EventRow,
): OutgoingMessage {
  const { app_group: appGroup, app_group_id: appGroupId, apps, sync_action: syncAction } = integration;
  const routes = {
    credentialsRoute: `${publicUrl}/latchkey.v1.IntegrationService/DownloadIntegrationCredentials`,
    refreshTokenRoute: `${publicUrl}/latchkey.v1.ConnectionService/RefreshConnection`,
  };
  const payload =
    eventType === 'appEnabled'
      ? { orgId, appGroup, appGroupId, ...routes, apps, syncAction }
      : { orgId, appGroup, appGroupId, apps };
  const value = { eventType, timestamp: createTime.getTime(), payload };
  return { topic, key: eventType, value: JSON.stringify(value), headers: { eventType } };
}

function otherMessage(topic: string, event: EventRow): OutgoingMessage {
  const { id: eventId, type: eventType, tenantId, aggregateType, aggregateId, generation, payload, createTime } = event;
  const about = { tenantId, aggregateType, aggregateId, generation };
  const value = { eventId, eventType, ...about, timestamp: createTime.getTime(), payload };
  return { topic, key: aggregateId, value: JSON.stringify(value), headers: { eventType } };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
