import type { JsonObject } from '../../model/json.ts';

/** What of an event goes to Kafka beside its place among all events: `token` about connections, `entity` about integrations. */
export type KafkaType =
  | { topic: 'token'; eventType: 'TOKEN_CREATED' | 'TOKEN_REFRESHED' | 'TOKEN_REVOKED' | 'TOKEN_EXPIRED' }
  | { topic: 'entity'; eventType: 'appEnabled' | 'appDisabled' };
type Mapping = (payload: JsonObject) => KafkaType | null;

const token =
  (eventType: (KafkaType & { topic: 'token' })['eventType'], when: (payload: JsonObject) => boolean = () => true) =>
  (payload: JsonObject): KafkaType | null =>
    when(payload) ? { topic: 'token', eventType } : null;
const entity = (eventType: (KafkaType & { topic: 'entity' })['eventType']) => (): KafkaType => ({
  topic: 'entity',
  eventType,
});
const other = (): null => null;

/** Every type of event, with what it is to the topics of Kafka that have their own form. */
export const EVENT_TYPES = {
  // One that waits for a person has no token yet.
  'connection.created': token('TOKEN_CREATED', ({ status }) => status === 'ACTIVE'),
  'connection.updated': token('TOKEN_CREATED', ({ credential_replaced }) => credential_replaced === true),
  'connection.deleted': token('TOKEN_REVOKED', ({ status }) => status !== 'REVOKED' && status !== 'PENDING'),
  'connection.enabled': other,
  'connection.disabled': other,
  'connection.authorized': token('TOKEN_CREATED'),
  'connection.authorization_failed': other,
  // One that came too late is not in use.
  'connection.refreshed': token('TOKEN_REFRESHED', ({ outcome }) => outcome === 'committed'),
  'connection.refresh_failed': other,
  'connection.recovered': other,
  'connection.scopes_changed': other,
  'connection.expiring': other,
  'connection.expired': token('TOKEN_EXPIRED'),
  'connection.reauthorization_required': other,
  'connection.revoked': token('TOKEN_REVOKED'),
  'connection.grant_revoked': other,
  'connection.grant_revocation_given_up': other,
  'connection.integrity_failed': other,
  'connection.tested': other,
  'connection.health_changed': other,
  'connection.usage_unusual': other,
  'integration.created': other,
  'integration.updated': other,
  'integration.deleted': other,
  'integration.enabled': entity('appEnabled'),
  'integration.disabled': entity('appDisabled'),
  'integration.credentials_set': other,
  'integration.credentials_deleted': other,
  'integration.misconfigured': other,
  'account.begun': other,
  'account.provisioned': other,
  'account.key_replaced': other,
  'account.deleted': other,
  'webhook.failed': other,
  'inbound_endpoint.created': other,
  'inbound_endpoint.updated': other,
  'inbound_endpoint.deleted': other,
  'inbound_message.received': other,
  'event_endpoint.created': other,
  'event_endpoint.updated': other,
  'event_endpoint.deleted': other,
  'event_endpoint.disabled': other,
  'connector.created': other,
  'connector.updated': other,
  'connector.deleted': other,
  'secret.created': other,
  'secret.updated': other,
  'secret.deleted': other,
  'provider.created': other,
  'provider.updated': other,
  'provider.deleted': other,
  'user.created': other,
  'user.roles_updated': other,
  'user.deleted': other,
  'api_key.created': other,
  'api_key.revoked': other,
  'tenant.created': other,
  'tenant.updated': other,
  'tenant.deleted': other,
  'tenant.erased': other,
} as const satisfies Record<string, Mapping>;

export type EventType = keyof typeof EVENT_TYPES;

export function isEventType(type: string): type is EventType {
  return Object.hasOwn(EVENT_TYPES, type);
}

/** Whether there are types that begin so, as `connection.`. */
export function isTypePrefix(prefix: string): boolean {
  return Object.keys(EVENT_TYPES).some((type) => type.startsWith(prefix));
}
