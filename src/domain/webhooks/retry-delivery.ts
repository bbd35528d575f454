import { LatchkeyError } from '../../base/error.ts';
import type { Delivery } from '../../model/delivery.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { findConnection } from '../connections/find-connection.ts';
import { findDelivery } from './delivery-visibility.ts';
import { sendAgain } from './send-again.ts';

/**
 * Has a delivery that failed for good sent again, under the id that the other side knows it by.
 * Fails with DELIVERY_NOT_FOUND, DELIVERY_NOT_FAILED, CONNECTION_NOT_FOUND, PERMISSION_MISSING.
 */
export async function retryDelivery(call: Call, id: string): Promise<Delivery> {
  const delivery = await change(call, async (em) => {
    const found = await findDelivery(em, call, id, 'webhook:send', true);
    if (found.connectionId) await findConnection(em, call, found.connectionId, 'connection:use');
    if (found.status !== 'FAILED')
      throw new LatchkeyError('DELIVERY_NOT_FAILED', { metadata: { delivery_id: id, status: found.status } });
    const [again] = await sendAgain(em, call, [{ sql: 'id = ?', params: [id] }], 1);
    return again!;
  });
  call.app.deliveries.look();
  return delivery;
}
