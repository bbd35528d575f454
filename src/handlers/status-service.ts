import type { MessageInitShape } from '@bufbuild/protobuf';
import { type DependencySchema, DependencyStatus, StatusService } from '../../gen/latchkey/v1/status_service_pb.ts';
import type { Dependency } from '../domain/call.ts';
import { getStatus } from '../domain/status/get-status.ts';
import { implement } from './implement.ts';
import { toTimestamp } from './time.ts';

const STATUS = {
  up: DependencyStatus.UP,
  degraded: DependencyStatus.DEGRADED,
  down: DependencyStatus.DOWN,
  unknown: DependencyStatus.UNKNOWN,
};

export const statusService = implement(StatusService, {
  getStatus(call) {
    const { status, dependencies } = getStatus(call);
    return { status: STATUS[status], dependencies: dependencies.map(dependencyToProto) };
  },
});

function dependencyToProto(dependency: Dependency): MessageInitShape<typeof DependencySchema> {
  const { name, status, since, latencyMs, detail } = dependency;
  const latency = latencyMs === null ? {} : { latencyMs };
  return { name, status: STATUS[status], since: toTimestamp(since), ...latency, detail };
}
