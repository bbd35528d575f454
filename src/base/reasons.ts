/** The gRPC status codes in use, by name (https://grpc.io/docs/guides/status-codes/). */
export type CodeName =
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED';

/**
 * Every reason a call can fail for: its code, and the text that callers see. The texts are constant and free of `: / ? , & =`, which grpc-js
 * shows escaped. The enum ErrorReason of the contract says what each means and which metadata it carries.
 */
export const REASONS = {
  INTERNAL: { code: 'INTERNAL', text: 'internal error' },
  FIELD_INVALID: { code: 'INVALID_ARGUMENT', text: 'a field of the request is invalid' },
  PAGE_TOKEN_INVALID: { code: 'INVALID_ARGUMENT', text: 'the page token is not valid for this list' },
  CREDENTIALS_MISSING: { code: 'UNAUTHENTICATED', text: 'a credential is required' },
  CREDENTIALS_INVALID: { code: 'UNAUTHENTICATED', text: 'the credential is not valid' },
  PERMISSION_MISSING: { code: 'PERMISSION_DENIED', text: 'the caller lacks a permission' },
  ADDRESS_FORBIDDEN: { code: 'PERMISSION_DENIED', text: 'the address may not be reached from here' },
  CONNECTION_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such connection' },
  SECRET_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such secret' },
  USER_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such user' },
  API_KEY_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such API key' },
  TENANT_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such tenant' },
  CONNECTION_NAME_TAKEN: { code: 'ALREADY_EXISTS', text: 'another connection of the project has this name' },
  SECRET_NAME_TAKEN: { code: 'ALREADY_EXISTS', text: 'another secret of the project has this name' },
  TENANT_ID_TAKEN: { code: 'ALREADY_EXISTS', text: 'the tenant exists' },
  REQUEST_ID_REUSED: { code: 'ALREADY_EXISTS', text: 'the request_id was used for another request' },
  CONNECTION_DISABLED: { code: 'FAILED_PRECONDITION', text: 'the connection is disabled' },
  CREDENTIAL_EXPIRED: { code: 'FAILED_PRECONDITION', text: 'the credential has expired' },
  SECRET_MISSING: { code: 'FAILED_PRECONDITION', text: 'a secret that the connection refers to does not exist' },
  SECRET_IN_USE: { code: 'FAILED_PRECONDITION', text: 'connections refer to the secret' },
  ETAG_MISMATCH: { code: 'ABORTED', text: 'the resource has changed since it was read' },
  SHUTTING_DOWN: { code: 'UNAVAILABLE', text: 'the server is stopping' },
  DATABASE_UNAVAILABLE: { code: 'UNAVAILABLE', text: 'the database does not answer' },
  AUDIT_UNAVAILABLE: { code: 'UNAVAILABLE', text: 'the audit log cannot be written' },
  IDENTITY_PROVIDER_UNAVAILABLE: { code: 'UNAVAILABLE', text: 'the identity provider does not answer' },
  OVERLOADED: { code: 'RESOURCE_EXHAUSTED', text: 'too many calls are in flight' },
  MESSAGE_TOO_LARGE: { code: 'RESOURCE_EXHAUSTED', text: 'the message is too large' },
  DEADLINE_EXCEEDED: { code: 'DEADLINE_EXCEEDED', text: 'the deadline has passed' },
  CANCELLED: { code: 'CANCELLED', text: 'the call was cancelled' },
  METHOD_UNKNOWN: { code: 'UNIMPLEMENTED', text: 'there is no such method' },
  PROVIDER_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such provider' },
  PROVIDER_NAME_TAKEN: { code: 'ALREADY_EXISTS', text: 'the tenant has a provider of this name' },
  PROVIDER_IN_USE: { code: 'FAILED_PRECONDITION', text: 'integrations are set up for the provider' },
  INTEGRATION_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such integration' },
  INTEGRATION_IN_USE: { code: 'FAILED_PRECONDITION', text: 'the integration has connections' },
  INTEGRATION_DISABLED: { code: 'FAILED_PRECONDITION', text: 'the integration is disabled' },
  INTEGRATION_MISCONFIGURED: {
    code: 'FAILED_PRECONDITION',
    text: 'the integration is not set up as the provider wants it',
  },
  AUTHORIZATION_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such authorization' },
  AUTHORIZATION_STATE_INVALID: {
    code: 'INVALID_ARGUMENT',
    text: 'this does not belong to an authorization that was started here',
  },
  AUTHORIZATION_DENIED: { code: 'PERMISSION_DENIED', text: 'access was declined' },
  AUTHORIZATION_FAILED: { code: 'FAILED_PRECONDITION', text: 'the authorization failed at the provider' },
  ACCOUNT_MISMATCH: { code: 'FAILED_PRECONDITION', text: 'another account was chosen than the connection is for' },
  USER_UNKNOWN: { code: 'FAILED_PRECONDITION', text: 'no user has the e-mail address of the account' },
  REAUTHORIZATION_REQUIRED: { code: 'FAILED_PRECONDITION', text: 'a person must grant access' },
  SCOPE_MISSING: { code: 'FAILED_PRECONDITION', text: 'a required scope was not granted' },
  TOKEN_LIFETIME_TOO_SHORT: { code: 'FAILED_PRECONDITION', text: 'no token lives as long as was asked' },
  PROVIDER_UNAVAILABLE: { code: 'UNAVAILABLE', text: 'the provider does not answer' },
  PROVIDER_RATE_LIMITED: { code: 'RESOURCE_EXHAUSTED', text: 'the provider takes no more requests now' },
  REFRESH_NOT_SUPPORTED: { code: 'FAILED_PRECONDITION', text: 'the credential cannot be renewed' },
  ACCOUNT_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such account' },
  FLOW_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such flow' },
  FLOW_RUN_FAILED: { code: 'FAILED_PRECONDITION', text: 'the flow was run and failed' },
  USER_SERVICE_UNAVAILABLE: { code: 'UNAVAILABLE', text: 'the user-service does not answer' },
  HOST_NOT_ALLOWED: { code: 'PERMISSION_DENIED', text: 'the host is none of the hosts of the connection' },
  CONNECTION_NOT_HTTP: { code: 'FAILED_PRECONDITION', text: 'the connection cannot be used for HTTP requests' },
  TARGET_UNAVAILABLE: { code: 'UNAVAILABLE', text: 'the other side could not be reached' },
  TARGET_TIMEOUT: { code: 'DEADLINE_EXCEEDED', text: 'the other side did not answer in time' },
  RESPONSE_TOO_LARGE: { code: 'RESOURCE_EXHAUSTED', text: 'the other side answered too much' },
  RATE_LIMITED: { code: 'RESOURCE_EXHAUSTED', text: 'too many calls were made in the time' },
  WEBHOOK_SECRET_MISSING: { code: 'FAILED_PRECONDITION', text: 'the connection has no secret to sign with' },
  DELIVERY_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such delivery' },
  DELIVERY_NOT_FAILED: { code: 'FAILED_PRECONDITION', text: 'only a delivery that failed can be retried' },
  INBOUND_ENDPOINT_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such inbound endpoint' },
  INBOUND_ENDPOINT_NAME_TAKEN: {
    code: 'ALREADY_EXISTS',
    text: 'another inbound endpoint of the project has this name',
  },
  INBOUND_MESSAGE_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such inbound message' },
  CURSOR_EXPIRED: { code: 'OUT_OF_RANGE', text: 'events after the cursor may have been deleted' },
  CURSOR_INVALID: { code: 'INVALID_ARGUMENT', text: 'the cursor is not valid' },
  READER_TOO_SLOW: { code: 'RESOURCE_EXHAUSTED', text: 'a message was not taken in time' },
  EVENT_ENDPOINT_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such endpoint' },
  EVENT_ENDPOINT_DISABLED: { code: 'FAILED_PRECONDITION', text: 'the endpoint is disabled' },
  EVENT_ENDPOINT_LIMIT_REACHED: { code: 'FAILED_PRECONDITION', text: 'the tenant may have no more endpoints' },
  EVENT_ENDPOINT_AUDIENCE_WIDER: {
    code: 'PERMISSION_DENIED',
    text: 'the endpoint is told more than the caller may see',
  },
  CONNECTOR_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such connector' },
  CONNECTOR_NAME_TAKEN: { code: 'ALREADY_EXISTS', text: 'another connector of the project has this name' },
  CONNECTOR_TYPE_NOT_FOUND: { code: 'NOT_FOUND', text: 'there is no such type of connector' },
  CONNECTOR_LIMIT_REACHED: { code: 'FAILED_PRECONDITION', text: 'the tenant may have no more connectors' },
  LAST_ADMINISTRATOR: { code: 'FAILED_PRECONDITION', text: 'the tenant would have no administrator any more' },
  TENANT_DELETED: { code: 'PERMISSION_DENIED', text: 'the tenant was deleted' },
  TENANT_IS_OPERATORS: { code: 'FAILED_PRECONDITION', text: 'the tenant is that of the operator' },
  RIGHTS_CHANGED: { code: 'ABORTED', text: 'the roles of the caller have changed since the call began' },
  CONNECTION_LIMIT_REACHED: { code: 'RESOURCE_EXHAUSTED', text: 'the tenant may have no more connections' },
} as const satisfies Record<string, { code: CodeName; text: string }>;

export type Reason = keyof typeof REASONS;

/** Whether a provider is away or busy, which passes by itself. */
export function isPassing(reason: Reason): boolean {
  return reason === 'PROVIDER_UNAVAILABLE' || reason === 'PROVIDER_RATE_LIMITED';
}
