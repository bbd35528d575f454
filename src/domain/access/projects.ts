import { fieldInvalid } from '../../base/error.ts';
import type { Principal } from '../call.ts';

/** Whether something in a project concerns the caller; null is the whole tenant and concerns everyone. */
export function projectAllowed(principal: Principal, projectId: string | null): boolean {
  return projectId === null || principal.projectIds === null || principal.projectIds.includes(projectId);
}

/** Refuses to put something into a project that is not the caller's. */
export function refuseForeignProject(principal: Principal, projectId: string | null): void {
  if (!projectAllowed(principal, projectId)) throw fieldInvalid('project_id', 'is not a project of the caller');
}
