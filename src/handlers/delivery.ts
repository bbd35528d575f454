import type { MessageInitShape } from '@bufbuild/protobuf';
import { type DeliverySchema, DeliveryStatus } from '../../gen/latchkey/v1/delivery_pb.ts';
import type { DeliveryView, DeliveryStatus as StatusName } from '../model/delivery.ts';
import { toTimestamp } from './time.ts';

/** A delivery as the contract says it. */
export function deliveryToProto(delivery: DeliveryView): MessageInitShape<typeof DeliverySchema> {
  const { id, host, method, error, maxAttempts, timeoutMs, backoffMs, status } = delivery;
  return {
    ...{ id, host, method, error, maxAttempts, timeoutMs, backoffMs, status: STATUSES[status] },
    connectionId: delivery.connectionId ?? '',
    projectId: delivery.projectId ?? '',
    ownerUserId: delivery.ownerUserId ?? '',
    signed: delivery.signedBy !== '',
    endpointId: delivery.purpose === 'webhook' ? '' : delivery.signedBy,
    eventId: delivery.purpose === 'webhook' ? '' : delivery.messageId,
    attempts: delivery.attempts.map(({ time, ...attempt }) => ({ ...attempt, time: toTimestamp(new Date(time)) })),
    nextAttemptTime: toTimestamp(status === 'PENDING' ? delivery.dueTime : null),
    createTime: toTimestamp(delivery.createTime),
    settleTime: toTimestamp(delivery.settleTime),
  };
}

const STATUSES: Record<StatusName, DeliveryStatus> = {
  PENDING: DeliveryStatus.PENDING,
  DELIVERING: DeliveryStatus.DELIVERING,
  SUCCEEDED: DeliveryStatus.SUCCEEDED,
  FAILED: DeliveryStatus.FAILED,
  SKIPPED: DeliveryStatus.SKIPPED,
};

/** Undefined for UNSPECIFIED. */
export function deliveryStatusName(status: DeliveryStatus): StatusName | undefined {
  return (Object.keys(STATUSES) as StatusName[]).find((name) => STATUSES[name] === status);
}
