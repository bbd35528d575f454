import type { App } from '../call.ts';
import { loadCredential } from '../connections/load-credential.ts';
import { refresh } from './refresh.ts';

/**
 * Asks once more about a grant that a provider called dead a minute ago: a provider can be wrong, and then the connection is as it was (refresh.md, "What an
 * answer means"). Nothing where it has a newer credential. Answers null: it is not asked again.
 */
export async function confirmDeadGrant(app: App, tenantId: string, id: string, generation: number): Promise<null> {
  const credential = await loadCredential(app, tenantId, id);
  if (credential?.status !== 'REAUTHORIZATION_REQUIRED' || credential.generation !== generation) return null;
  await refresh(app, credential, { force: true });
  return null;
}
