import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  AuthorizationMethod,
  type AuthorizationSchema,
  AuthorizationStatus,
} from '../../gen/latchkey/v1/authorization_pb.ts';
import type {
  StartAuthorizationRequest,
  StartAuthorizationResponseSchema,
} from '../../gen/latchkey/v1/connection_service_pb.ts';
import type { AuthorizationView } from '../domain/authorizations/authorization-view.ts';
import type { NewAuthorization, StartedAuthorization } from '../domain/authorizations/start-authorization.ts';
import { toTimestamp } from './time.ts';

/** A request to start an authorization as values. The contract's rules have seen to it that there is a target. */
export function authorizationInput(request: StartAuthorizationRequest): NewAuthorization {
  const { integrationId, provider, scopes, returnUrl, loginHint, allowAccountChange, redirectUri, target } = request;
  const method = request.method === AuthorizationMethod.DEVICE ? 'DEVICE' : 'CODE';
  const common = {
    integrationId,
    provider,
    scopes,
    returnUrl,
    loginHint,
    allowAccountChange,
    redirectUri,
    method,
  } as const;
  if (target.case === 'connectionId') return { ...common, target: { connectionId: target.value } };
  if (target.case !== 'newConnection') throw new Error('an authorization without target passed validation');
  const { name, displayName, projectId, ownerUserId, ownerByEmail, isDefault, labels } = target.value;
  const connection = {
    ...{ name, displayName, ownerByEmail, isDefault },
    ...{ projectId: projectId || null, ownerUserId: ownerUserId || null, labels: labels?.entries ?? {} },
  };
  return { ...common, target: { connection } };
}

const STATUSES = {
  PENDING: AuthorizationStatus.PENDING,
  SUCCEEDED: AuthorizationStatus.SUCCEEDED,
  FAILED: AuthorizationStatus.FAILED,
  EXPIRED: AuthorizationStatus.EXPIRED,
} as const;

/** An authorization as the contract says it. */
export function authorizationToProto({
  authorization,
  status,
  reason,
}: AuthorizationView): MessageInitShape<typeof AuthorizationSchema> {
  const { id, connectionId, integrationId, method, providerError, requestedScopes, missingScopes, device } =
    authorization;
  return {
    ...{ id, connectionId, integrationId, reason, providerError, requestedScopes, missingScopes },
    status: STATUSES[status],
    method: method === 'DEVICE' ? AuthorizationMethod.DEVICE : AuthorizationMethod.CODE,
    ...(device
      ? {
          userCode: device.userCode,
          verificationUri: device.verificationUri,
          verificationUriComplete: device.verificationUriComplete,
        }
      : {}),
    expireTime: toTimestamp(authorization.expireTime),
    createTime: toTimestamp(authorization.createTime),
  };
}

export function startedToProto(
  started: StartedAuthorization,
): MessageInitShape<typeof StartAuthorizationResponseSchema> {
  return { authorization: authorizationToProto(started), authorizationUrl: started.authorizationUrl };
}
