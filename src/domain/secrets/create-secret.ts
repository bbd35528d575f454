import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import type { SecretText } from '../../base/secret-text.ts';
import { brokenUniqueConstraint } from '../../db/errors.ts';
import type { Em } from '../../db/transaction.ts';
import { Secret, secretPlace } from '../../model/secret.ts';
import { refuseForeignProject } from '../access/projects.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { once } from '../once.ts';

export type NewSecret = { name: string; value: SecretText; projectId: string | null; requestId: string };

/** Stores a secret; connections that miss one of its name find it. Fails with SECRET_NAME_TAKEN, REQUEST_ID_REUSED. */
export async function createSecret(call: Call, input: NewSecret): Promise<Secret> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const { name, projectId } = input;
  refuseForeignProject(principal, projectId);
  const now = new Date(app.clock.now());
  const id = newId('sec', now.getTime());
  const seal = await app.keyring.sealer(tenantId);
  const request = {
    method: 'CreateSecret',
    requestId: input.requestId,
    content: JSON.stringify([name, projectId, input.value.reveal()]),
  };
  return change(call, (em) =>
    once(em, call, request, id, {
      async make() {
        const value = seal(secretPlace(tenantId, id, 1), Buffer.from(input.value.reveal()));
        const secret = em.create(Secret, {
          tenantId,
          id,
          name,
          projectId,
          value,
          generation: 1,
          createTime: now,
          updateTime: now,
        });
        await flushNamed(em, name);
        await bindMissingReferences(em, secret);
        const resource = { type: 'secret', id };
        audit(em, call, 'secret_created', resource, { after: secret.summary() });
        event(em, call, 'secret.created', secret.aggregate(), { name });
        return secret;
      },
      async repeat(made) {
        const secret = await em.findOne(Secret, { tenantId, id: made });
        if (!secret) throw new LatchkeyError('SECRET_NOT_FOUND', { metadata: { name } });
        return secret;
      },
    }),
  );
}

async function flushNamed(em: Em, name: string): Promise<void> {
  try {
    await em.flush();
  } catch (error) {
    if (brokenUniqueConstraint(error) !== 'secret_name') throw error;
    throw new LatchkeyError('SECRET_NAME_TAKEN', { metadata: { name } });
  }
}

async function bindMissingReferences(em: Em, { tenantId, id, name, projectId }: Secret): Promise<void> {
  const bound = await em.execute<{ connection_id: string }[]>(
    `update latchkey.credential_secret_ref r set secret_id = ? from latchkey.connection c
     where r.tenant_id = ? and r.secret_name = ? and r.secret_id is null
       and c.tenant_id = r.tenant_id and c.id = r.connection_id and (cast(? as text) is null or c.project_id = ?)
     returning r.connection_id`,
    [id, tenantId, name, projectId, projectId],
  );
  for (const row of bound) announce(em, { kind: 'connection', tenantId, id: row.connection_id });
}
