/**
 * Every table with rows of a tenant, in the order in which they go: what is acted upon by itself first, what others refer to last. Not here: `tenant`, whose row goes last of all, what is in its
 * place then (`deleted_tenant`), and LOG_TABLES.
 */
export const TENANT_TABLES = [
  ...['delivery', 'event_fan_out', 'event_endpoint', 'connection_health', 'credential', 'credential_secret_ref'],
  ...['token_generation', 'app_authorization', 'revocation', 'provider_account', 'inbound_message', 'inbound_endpoint'],
  ...['connection_usage', 'circuit', 'connection', 'integration_secret', 'integration', 'provider', 'secret'],
  ...['connector_state', 'connector', 'connection_count', 'rate_bucket', 'rate_window', 'request_memo', 'api_key'],
  ...['app_user', 'data_key', 'audit_unsealed'],
] as const;

/** Those that the service itself may not remove rows from: erase_tenant_log does. */
export const LOG_TABLES = ['outbox', 'audit_seal', 'audit_entry'] as const;

/** Those of TENANT_TABLES by which Latchkey acts for the tenant without being called. */
export const ACTED_UPON = [
  ...['delivery', 'event_fan_out', 'event_endpoint', 'connection_health', 'app_authorization'],
  ...['inbound_message', 'inbound_endpoint'],
] as const satisfies readonly (typeof TENANT_TABLES)[number][];
