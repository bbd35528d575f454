import type { MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { HealthStatus, type ProviderHealthSchema } from '../../gen/latchkey/v1/integration_service_pb.ts';
import type { ProviderHealth } from '../domain/integrations/check-provider-health.ts';
import { toTimestamp } from './time.ts';

/** A provider's health as the contract says it. */
export function healthToProto(health: ProviderHealth): MessageInitShape<typeof ProviderHealthSchema> {
  const { provider, status, latencyMs, version, message, checkTime } = health;
  return {
    ...{ provider, version, message, status: HealthStatus[status], checkTime: toTimestamp(checkTime) },
    latency: latencyMs === null ? undefined : durationFromMs(latencyMs),
  };
}
