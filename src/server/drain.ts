import type { Http2SecureServer, ServerHttp2Session } from 'node:http2';
import type { Server as GrpcServer } from '@grpc/grpc-js';
import type { Health } from './health.ts';
import type { HttpServer } from './http.ts';
import type { Pipeline } from './pipeline/pipeline.ts';

/** How long answers that are written may take to leave once no call is under way. */
const FLUSH_MS = 300;
/** How long interrupted calls may take to answer. */
const INTERRUPT_MS = 1_000;

type Servers = { grpc: GrpcServer; http: HttpServer; pipeline: Pipeline; health: Health; graceMs: number };

/**
 * Stops: not ready at once, no new connections, calls in flight end by themselves within the grace, the rest with SHUTTING_DOWN. Streams of health
 * and reflection, which never end by themselves, are cut last.
 */
export async function drainServers({ grpc, http, pipeline, health, graceMs }: Servers): Promise<void> {
  health.drain();
  const grpcClosed = new Promise<void>((done) => grpc.tryShutdown(() => done()));
  const httpClosed = closeHttp(http);
  if (!(await settled(pipeline.idle(), graceMs))) {
    pipeline.interruptAll();
    await settled(pipeline.idle(), INTERRUPT_MS);
  }
  await settled(Promise.all([grpcClosed, httpClosed]), FLUSH_MS);
  grpc.forceShutdown();
  if ('closeAllConnections' in http) http.closeAllConnections();
}

function closeHttp(http: HttpServer): Promise<void> {
  for (const session of sessions.get(http as Http2SecureServer) ?? []) session.close();
  return new Promise((done) => http.close(() => done()));
}

const sessions = new WeakMap<Http2SecureServer, Set<ServerHttp2Session>>();

/** HTTP/2 sessions do not end with their server: they are kept to be closed with it. */
export function trackSessions(server: Http2SecureServer): void {
  const open = new Set<ServerHttp2Session>();
  sessions.set(server, open);
  server.on('session', (session) => {
    open.add(session);
    session.on('close', () => open.delete(session));
  });
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
