import type { Call, SystemStatus } from '../call.ts';

/** How the service does, and what it stands on. Latency and detail are for the operator. */
export function getStatus({ app, principal }: Call): SystemStatus {
  const status = app.status();
  if (principal.permissions.has('tenant:manage')) return status;
  const dependencies = status.dependencies.map((dependency) => ({ ...dependency, latencyMs: null, detail: '' }));
  return { ...status, dependencies };
}
