import { LatchkeyError } from '../../base/error.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { audit, type Resource } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';

/** What `opening` answers. A stored value that does not open is counted, and logged and recorded once a minute, for anybody can ask; then it fails with INTERNAL. */
export async function noteIntegrityFailure<T>(call: Call, resource: Resource, opening: () => Promise<T>): Promise<T> {
  try {
    return await opening();
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error;
    const { app, requestId } = call;
    app.metrics.integrityFailures.inc();
    const key = `integrity ${resource.id}`;
    if (!app.inbound.refusals.has(key)) {
      app.inbound.refusals.add(key);
      app.log.error({ err: error, requestId, resource }, 'a stored value does not open');
      await change(call, async (em) => audit(em, call, 'integrity_failure', resource));
    }
    throw new LatchkeyError('INTERNAL', { cause: error });
  }
}
