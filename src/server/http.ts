import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createSecureServer, type Http2SecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { cors } from '@connectrpc/connect';
import { Registry } from 'prom-client';
import { StartError } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../config.ts';
import type { AuditExports } from './audit-export.ts';
import type { createConnectHandler } from './connect.ts';
import type { Documentation } from './documentation.ts';
import type { Health } from './health.ts';
import { trackSessions } from './http2-sessions.ts';
import type { RequestProxy } from './proxy.ts';

const MAX_HEADER_BYTES = 32 * 1024;
const HEADERS_MS = 10_000;
const KEEP_ALIVE_MS = 65_000;

export type HttpServer = Server | Http2SecureServer;
type Parts = {
  connect: ReturnType<typeof createConnectHandler>;
  health: Health;
  /** The text of `/metrics`. */
  metrics: () => Promise<string>;
  /** Serves what browsers come to during an authorization; answers whether it did. */
  oauth: (request: IncomingMessage, response: ServerResponse) => Promise<boolean>;
  /** Passes requests on; answers whether it did. */
  proxy: Pick<RequestProxy, 'serve'>;
  /** Takes what third parties send to inbound endpoints; answers whether the path is of one. */
  inbound: (request: IncomingMessage, response: ServerResponse) => Promise<boolean>;
  /** Answers the audit log. */
  auditExports: Pick<AuditExports, 'serve'>;
  /** The document of the API, and its page. */
  documentation: Documentation;
  log: Log;
};
type Route = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

/** The HTTP server: Connect and gRPC-Web, health and metrics. With TLS it speaks HTTP/2, too. */
export function createHttpServer(config: Config, parts: Parts): HttpServer {
  const routes = routesOf(parts);
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    let gone = false;
    response.once('close', () => {
      gone = true;
    });
    serve(config, parts, routes, request, response).catch((error) => {
      // Who has left cannot be answered: that says nothing of us.
      parts.log[gone ? 'debug' : 'error']({ err: error }, gone ? 'a caller left' : 'an HTTP request failed');
      response.destroy();
    });
  };
  const { tls } = config;
  if (tls) {
    const settings = { maxHeaderListSize: MAX_HEADER_BYTES };
    const server = createSecureServer({ cert: tls.cert, key: tls.key, allowHTTP1: true, settings });
    trackSessions(server);
    return server.on('request', listener as never);
  }
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_MS,
      // What is passed on may take hours to come; it and all else has limits of its own.
      requestTimeout: 0,
    },
    listener,
  );
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return server;
}

/** Listens. Answers the port. Throws StartError. */
export function listenHttp(server: HttpServer, { host, httpPort }: Config): Promise<number> {
  return new Promise((done, fail) => {
    server.once('error', (error: Error) => {
      fail(
        new StartError(
          `HTTP cannot listen on ${host}:${httpPort}: ${error.message}\n  Another process may use the port; HTTP_PORT chooses another.`,
        ),
      );
    });
    server.listen(httpPort, host, () => done((server.address() as AddressInfo).port));
  });
}

function routesOf({ health, metrics, auditExports, documentation }: Parts): Record<string, Route> {
  return {
    '/healthz': (_, response) => sendJson(response, 200, { status: 'ok' }),
    '/readyz': (_, response) => {
      const { status, dependencies } = health.status();
      const ready = status !== 'down';
      const known = dependencies.filter((dependency) => dependency.status !== 'unknown');
      const shown = known.map(({ name, status, since }) => ({ name, status, since }));
      sendJson(response, ready ? 200 : 503, { ready, status, dependencies: shown });
    },
    '/metrics': async (_, response) => {
      const text = await metrics();
      response.writeHead(200, { 'content-type': Registry.PROMETHEUS_CONTENT_TYPE, 'cache-control': 'no-store' });
      response.end(text);
    },
    '/audit/export': (request, response) => auditExports.serve(request, response),
    ...documentation,
  };
}

async function serve(
  config: Config,
  { connect, oauth, inbound, proxy }: Parts,
  routes: Record<string, Route>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.setHeader('x-content-type-options', 'nosniff');
  allowOrigin(config, request, response);
  if (request.method === 'OPTIONS' && request.headers['access-control-request-method']) {
    response.writeHead(204).end();
    return;
  }
  const path = (request.url ?? '').split('?', 1)[0]!;
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (route && (request.method === 'GET' || request.method === 'HEAD')) {
    await route(request, response);
    return;
  }
  if (route) {
    response.setHeader('allow', 'GET, HEAD');
    sendJson(response, 405, { message: 'the method is not allowed here' });
    return;
  }
  if (await proxy.serve(request, response)) return;
  limitTime(request, response, Math.max(config.maxCallMs, HEADERS_MS));
  if (await oauth(request, response)) return;
  if (await inbound(request, response)) return;
  if (await connect(request, response)) return;
  sendJson(response, 404, { code: 'unimplemented', message: 'there is nothing at this path' });
}

/** Ends a connection on which a request does not come whole in time. */
function limitTime(request: IncomingMessage, response: ServerResponse, ms: number): void {
  if (request.complete || request.method === 'GET') return;
  const timer = setTimeout(() => {
    if (!request.complete) request.destroy();
  }, ms);
  response.once('close', () => clearTimeout(timer));
}

/** CORS for the origins that are allowed (https://fetch.spec.whatwg.org/#http-cors-protocol); others get no headers, and their browsers refuse. */
function allowOrigin({ corsOrigins }: Config, request: IncomingMessage, response: ServerResponse): void {
  const { origin } = request.headers;
  if (corsOrigins.length === 0) return;
  response.setHeader('vary', 'Origin');
  if (!origin || !(corsOrigins.includes(origin) || corsOrigins.includes('*'))) return;
  response.setHeader('access-control-allow-origin', origin);
  response.setHeader('access-control-expose-headers', [...cors.exposedHeaders, 'x-request-id'].join(', '));
  if (request.method !== 'OPTIONS') return;
  const headers = [
    ...cors.allowedHeaders,
    'authorization',
    'x-api-key',
    'latchkey-user',
    'x-request-id',
    'traceparent',
    'tracestate',
  ];
  response.setHeader('access-control-allow-methods', cors.allowedMethods.join(', '));
  response.setHeader('access-control-allow-headers', headers.join(', '));
  response.setHeader('access-control-max-age', '7200');
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}
