import type { MessageInitShape } from '@bufbuild/protobuf';
import type { RateLimit, RateLimitSchema, TenantLimits, TenantLimitsSchema } from '../../gen/latchkey/v1/limits_pb.ts';
import type { StoredLimits, StoredRate } from '../model/tenant.ts';

export function rateOf({ perSecond, burst }: RateLimit): StoredRate {
  return { per_second: perSecond, burst };
}

export function rateToProto({ per_second: perSecond, burst }: StoredRate): MessageInitShape<typeof RateLimitSchema> {
  return { perSecond, burst };
}

export function limitsOf({ calls, callsOfEach, maxConnections }: TenantLimits): StoredLimits {
  return {
    ...(calls && { calls: rateOf(calls) }),
    ...(callsOfEach && { calls_of_each: rateOf(callsOfEach) }),
    ...(maxConnections !== undefined && { max_connections: maxConnections }),
  };
}

export function limitsToProto({
  calls,
  calls_of_each: callsOfEach,
  max_connections: maxConnections,
}: StoredLimits): MessageInitShape<typeof TenantLimitsSchema> {
  return {
    ...(calls && { calls: rateToProto(calls) }),
    ...(callsOfEach && { callsOfEach: rateToProto(callsOfEach) }),
    ...(maxConnections !== undefined && { maxConnections }),
  };
}
