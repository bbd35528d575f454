import type { Server } from 'node:http';
import type { Http2SecureServer, ServerHttp2Session } from 'node:http2';

const sessions = new WeakMap<Server | Http2SecureServer, Set<ServerHttp2Session>>();

/** HTTP/2 sessions do not end with their server: they are kept to be closed with it. */
export function trackSessions(server: Http2SecureServer): void {
  const open = new Set<ServerHttp2Session>();
  sessions.set(server, open);
  server.on('session', (session) => {
    open.add(session);
    session.on('close', () => open.delete(session));
  });
}

/** Lets the sessions of a server end once their streams have. */
export function closeSessions(server: Server | Http2SecureServer): void {
  for (const session of sessions.get(server) ?? []) session.close();
}
