import { Delivery } from '../../model/delivery.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { deliveryNotFound } from './delivery-visibility.ts';

/** The outcome is announced; this often it is looked whether that was missed. */
const LOOK_MS = 1_000;
/** Before the server's limit ends the call, it answers how the delivery stands. */
const MARGIN_MS = 2_000;

/** Waits until a delivery is settled, as long as the call may take; answers how it stands then. */
export async function awaitDelivery(call: Call, id: string): Promise<Delivery> {
  const { app, principal, signal } = call;
  const end = app.clock.monotonic() + app.config.maxCallMs - MARGIN_MS;
  for (;;) {
    const left = end - app.clock.monotonic();
    const waiting = app.changes.wait(
      { kind: 'delivery', tenantId: principal.tenantId, id },
      Math.max(0, Math.min(LOOK_MS, left)),
      signal,
    );
    const delivery = await readOwn(call, id);
    if (delivery.settleTime || left <= 0 || signal.aborted) return delivery;
    await waiting;
  }
}

/** A delivery that the caller made: sending takes no permission to read. Fails with DELIVERY_NOT_FOUND where it is gone by now. */
export async function readOwn(call: Call, id: string): Promise<Delivery> {
  const found = await read(call, (em) => em.findOne(Delivery, { tenantId: call.principal.tenantId, id }));
  if (!found) throw deliveryNotFound(id);
  return found;
}
