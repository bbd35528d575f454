import type { Server as GrpcServer } from '@grpc/grpc-js';
import type { AuditExports } from './audit-export.ts';
import type { Health } from './health.ts';
import type { HttpServer } from './http.ts';
import { closeSessions } from './http2-sessions.ts';
import type { Pipeline } from './pipeline/pipeline.ts';
import type { RequestProxy } from './proxy.ts';

/** How long answers that are written may take to leave once no call is under way. */
const FLUSH_MS = 300;
/** How long interrupted calls may take to answer. */
const INTERRUPT_MS = 1_000;

type Servers = {
  grpc: GrpcServer;
  http: HttpServer;
  pipeline: Pipeline;
  proxy: RequestProxy;
  auditExports: AuditExports;
  health: Health;
  graceMs: number;
};

/**
 * Stops: not ready at once, no new connections, calls in flight end by themselves within the grace, the rest with SHUTTING_DOWN. Streams of health
 * and reflection, which never end by themselves, are cut last.
 */
export async function drainServers(servers: Servers): Promise<void> {
  const { grpc, http, pipeline, proxy, auditExports, health, graceMs } = servers;
  health.drain();
  const grpcClosed = new Promise<void>((done) => grpc.tryShutdown(() => done()));
  const httpClosed = closeHttp(http);
  if (!(await settled(Promise.all([pipeline.idle(), proxy.idle(), auditExports.stop()]), graceMs))) {
    pipeline.interruptAll();
    await settled(pipeline.idle(), INTERRUPT_MS);
  }
  await settled(Promise.all([grpcClosed, httpClosed]), FLUSH_MS);
  grpc.forceShutdown();
  if ('closeAllConnections' in http) http.closeAllConnections();
}

function closeHttp(http: HttpServer): Promise<void> {
  closeSessions(http);
  return new Promise((done) => http.close(() => done()));
}

/** Whether the work ended in time. */
async function settled(work: Promise<unknown>, withinMs: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), withinMs);
  try {
    return await Promise.race([work.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
