import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { Secret } from '../../model/secret.ts';
import { projectAllowed } from '../access/projects.ts';
import type { Call } from '../call.ts';

/** A secret by name, locked until the transaction ends. Fails with SECRET_NOT_FOUND. */
export async function findSecret(em: Em, call: Call, name: string, projectId: string | null): Promise<Secret> {
  const { tenantId } = call.principal;
  const secret = projectAllowed(call.principal, projectId)
    ? await em.findOne(Secret, { tenantId, name, projectId }, { lockMode: LockMode.PESSIMISTIC_WRITE })
    : null;
  if (!secret) throw new LatchkeyError('SECRET_NOT_FOUND', { metadata: { name } });
  return secret;
}
