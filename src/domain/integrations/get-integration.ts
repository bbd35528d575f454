import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { findIntegration } from './find-integration.ts';
import { type IntegrationView, viewOf } from './integration-view.ts';

/** One integration. Fails with INTEGRATION_NOT_FOUND. */
export function getIntegration(call: Call, id: string): Promise<IntegrationView> {
  return read(call, async (em) => viewOf(em, call, await findIntegration(em, call.principal.tenantId, id)));
}
