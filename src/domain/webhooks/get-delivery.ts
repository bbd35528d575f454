import type { Delivery } from '../../model/delivery.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { findDelivery } from './delivery-visibility.ts';

/** One delivery. Fails with DELIVERY_NOT_FOUND. */
export function getDelivery(call: Call, id: string): Promise<Delivery> {
  return read(call, (em) => findDelivery(em, call, id, 'webhook:read'));
}
