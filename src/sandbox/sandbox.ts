import type { EventEmitter } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type Provider from 'oidc-provider';
import type { Log } from '../base/log.ts';

/** Browsers take its cookies for another site's than `localhost`, as a real provider's. */
export const SANDBOX_HOST = '127.0.0.1';

/** A provider to try things out with: people who do not exist, and state that is gone with the process. Never in production. */
export type Sandbox = {
  url: string;
  /** Says where browsers reach Latchkey, which is known once that listens. Requests before it wait. */
  open(publicUrl: string): Promise<void>;
  stop(): Promise<void>;
};

/** Listens on loopback, at a free port where the given one is taken. */
export async function startSandbox(port: number, log: Log): Promise<Sandbox> {
  const opened = Promise.withResolvers<Handler>();
  const server = createServer((request, response) => {
    opened.promise
      .then((handle) => handle(request, response))
      .catch((error: unknown) => {
        log.error({ err: error }, 'the sandbox failed');
        if (!response.headersSent) response.writeHead(500);
        response.end();
      });
  });
  await listen(server, port).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    return listen(server, 0);
  });
  const url = `http://${SANDBOX_HOST}:${(server.address() as AddressInfo).port}`;
  return {
    url,
    async open(publicUrl) {
      opened.resolve(await handlerOf(url, publicUrl, log));
    },
    stop: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;

async function handlerOf(url: string, publicUrl: string, log: Log): Promise<Handler> {
  // Loaded here: who does without the sandbox does without all that it needs.
  const { default: OidcProvider } = await quietly(() => import('oidc-provider'));
  const [{ oidcConfiguration }, { serveInteraction }] = await Promise.all([
    import('./oidc-configuration.ts'),
    import('./interaction.ts'),
  ]);
  const provider: Provider = new OidcProvider(url, await oidcConfiguration(publicUrl));
  const report = (...parts: unknown[]) => log.error({ err: parts.find(isError) }, 'the sandbox failed');
  provider.on('server_error', report);
  // Koa's own, which the types leave out: without a listener it would write to the console.
  (provider as EventEmitter).on('error', report);
  const serve = provider.callback();
  return (request, response) =>
    request.url?.startsWith('/interaction/') ? serveInteraction(provider, request, response) : serve(request, response);
}

/** It warns on the console of every Node.js that has no long-term support yet. */
async function quietly<T>(load: () => Promise<T>): Promise<T> {
  const { warn } = console;
  console.warn = (...parts: unknown[]) => {
    if (!String(parts[0]).includes('Unsupported runtime')) warn(...parts);
  };
  try {
    return await load();
  } finally {
    console.warn = warn;
  }
}

function isError(part: unknown): part is Error {
  return part instanceof Error;
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail);
    server.listen(port, SANDBOX_HOST, () => {
      server.off('error', fail);
      done();
    });
  });
}
