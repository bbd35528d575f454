import { LatchkeyError } from '../../base/error.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { findSecret } from './find-secret.ts';

const CONNECTIONS_NAMED = 20;

type Deletion = { name: string; projectId: string | null; force: boolean };

/** Deletes a secret. Fails with SECRET_NOT_FOUND, and with SECRET_IN_USE unless forced. */
export function deleteSecret(call: Call, { name, projectId, force }: Deletion): Promise<void> {
  const { tenantId } = call.principal;
  return change(call, async (em) => {
    const secret = await findSecret(em, call, name, projectId);
    const users = await em.execute<{ connection_id: string }[]>(
      'select distinct connection_id from latchkey.credential_secret_ref where tenant_id = ? and secret_id = ? order by connection_id',
      [tenantId, secret.id],
    );
    const ids = users.map((row) => row.connection_id);
    if (ids.length > 0 && !force) {
      const metadata = {
        connection_ids: ids.slice(0, CONNECTIONS_NAMED).join(','),
        connection_count: String(ids.length),
      };
      throw new LatchkeyError('SECRET_IN_USE', { metadata });
    }
    em.remove(secret);
    const resource = { type: 'secret', id: secret.id };
    audit(em, call, 'secret_deleted', resource, { before: secret.summary() });
    event(em, call, 'secret.deleted', { ...secret.aggregate(), generation: secret.generation + 1 }, { name });
    announce(em, { kind: 'secret', tenantId, id: secret.id });
  });
}
