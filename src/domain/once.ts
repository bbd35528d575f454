import { createHmac } from 'node:crypto';
import { LatchkeyError } from '../base/error.ts';
import { sameHash } from '../crypto/constant-time.ts';
import type { Em } from '../db/transaction.ts';
import { RequestMemo } from '../model/request-memo.ts';
import type { ToolCall } from './call.ts';

const REMEMBERED_MS = 24 * 3_600_000;

/** A create call that may be repeated. */
export type Once = {
  /** Name of the method. */
  method: string;
  /** The caller's id for the request; empty: not repeatable. */
  requestId: string;
  /** What the request says. A keyed hash of it is kept, so that not even a weak secret in it can be guessed. */
  content: string;
};

/** Of the installation's secret: hides what requests said in the hashes that are kept of them. */
export function requestHashKeyOf(secret: Buffer): Buffer {
  return createHmac('sha256', secret).update('request hash').digest();
}

/**
 * Makes a resource once for a `request_id` (AIP-155), in the transaction that `em` is: `make` makes it under the new `id`, `repeat` finds the one made before. Two calls at once wait
 * for each other at the memo's primary key, so it stands first.
 * Fails with REQUEST_ID_REUSED where the id was used within 24 hours for a request that said something else.
 */
export async function once<T>(
  em: Em,
  call: ToolCall,
  { method, requestId, content }: Once,
  id: string,
  { make, repeat }: { make: () => Promise<T>; repeat: (id: string) => Promise<T> },
): Promise<T> {
  if (!requestId) return make();
  const { tenantId, kind, id: actorId, userId } = call.principal;
  const now = call.app.clock.now();
  const key = { tenantId, caller: `${kind} ${actorId} ${userId ?? ''}`, method, requestId };
  const hash = createHmac('sha256', call.app.requestHashKey).update(content).digest();
  await em.execute('delete from latchkey.request_memo where tenant_id = ? and create_time < ?', [
    tenantId,
    new Date(now - REMEMBERED_MS),
  ]);
  const inserted = await em.execute<{ resource_id: string }[]>(
    `insert into latchkey.request_memo (tenant_id, caller, method, request_id, request_hash, resource_id, create_time)
     values (?, ?, ?, ?, ?, ?, ?) on conflict do nothing returning resource_id`,
    [tenantId, key.caller, method, requestId, hash, id, new Date(now)],
  );
  if (inserted.length > 0) return make();
  const memo = await em.findOneOrFail(RequestMemo, key);
  if (!sameHash(memo.requestHash, hash)) throw new LatchkeyError('REQUEST_ID_REUSED');
  return repeat(memo.resourceId);
}
