import type { Em } from './transaction.ts';

/** Jobs by name, with what each is told: routing alone, never a secret. */
export type Jobs = {
  /** Has a provider revoke a grant. */
  revoke_grant: { tenantId: string; id: string };
  /** Asks whether a person has entered a device code. */
  poll_device: { tenantId: string; id: string };
  /** Asks once more about a grant that was called dead; `id` is the connection. */
  confirm_dead_grant: { tenantId: string; id: string; generation: number };
  /** Ends the key of an account whose connection was revoked or deleted. */
  end_account_key: { tenantId: string; id: string };
  /** Goes on with an account that is being made at a provider. */
  finish_account: { tenantId: string; id: string };
  /** Deletes the messages of an inbound endpoint that was deleted. */
  purge_inbound_messages: { tenantId: string; id: string };
  /** Removes what a deleted user leaves. */
  remove_user: { tenantId: string; id: string };
  /** Removes a deleted tenant; `id` is its own. */
  remove_tenant: { tenantId: string; id: string };
};

/** Adds a job, in the transaction of what asks for it. Under a key, one that waits already is moved instead. */
export async function enqueue<Name extends keyof Jobs>(
  em: Em,
  name: Name,
  payload: Jobs[Name],
  { runAt = null, key = null }: { runAt?: Date | null; key?: string | null } = {},
): Promise<void> {
  await em.execute(
    'select graphile_worker.add_job(?, cast(? as json), run_at => ?, job_key => ?, max_attempts => 1000)',
    [name, JSON.stringify(payload), runAt, key],
  );
}
