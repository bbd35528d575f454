import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';

/** A server on loopback that counts who comes. */
export type Listener = AsyncDisposable & {
  port: number;
  url: string;
  /** Connections so far. */
  readonly connections: number;
};

/** An HTTP server. */
export function listenHttp(serve: RequestListener, host = '127.0.0.1'): Promise<Listener> {
  return listen(createServer(serve), host);
}

/** A server that is left alone with each connection once its first bytes are there. */
export function listenRaw(answer: (socket: Socket, request: string) => void, host = '127.0.0.1'): Promise<Listener> {
  const serve = (socket: Socket) => socket.once('data', (bytes) => answer(socket, bytes.toString('latin1')));
  return listen(createTcpServer(serve), host);
}

/** Any server, such as one of TLS. */
export async function listen(server: Server, host = '127.0.0.1'): Promise<Listener> {
  const open = new Set<Socket>();
  let connections = 0;
  server.on('connection', (socket: Socket) => {
    connections += 1;
    open.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
  });
  await new Promise<void>((done) => server.listen(0, host, done));
  const { port } = server.address() as AddressInfo;
  return {
    ...{ port, url: `http://127.0.0.1:${port}` },
    get connections() {
      return connections;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}
