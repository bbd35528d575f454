import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A way to a server that can be cut. */
export class TcpProxy {
  port = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => this.#forward(socket));
  readonly #target: { host: string; port: number };
  #cut = false;
  #refused: string | null = null;
  #losing: { text: string; done: () => void } | null = null;

  private constructor(target: { host: string; port: number }) {
    this.#target = target;
  }

  static async to(host: string, port: number): Promise<TcpProxy> {
    const proxy = new TcpProxy({ host, port });
    await new Promise<void>((done) => proxy.#server.listen(0, '127.0.0.1', done));
    proxy.port = (proxy.#server.address() as AddressInfo).port;
    return proxy;
  }

  /** The same URL by way of the proxy. */
  through(url: string): string {
    const changed = new URL(url);
    changed.port = String(this.port);
    return changed.href;
  }

  /** Resets every connection, and refuses new ones. */
  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  mend(): void {
    this.#cut = false;
  }

  /** Refuses the connections of which the first bytes have this text, such as the name of an application; null: none. */
  refuse(text: string | null): void {
    this.#refused = text;
  }

  /** Resets the connection on which this text is sent next, in place of what is answered to it. Resolves when that has happened. */
  loseAnswerTo(text: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#losing = { text, done: resolve };
    return promise;
  }

  /** Connections that are open now say nothing any more, for ever; new ones work. */
  silence(): void {
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.removeAllListeners('data');
      socket.pause();
    }
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((done) => this.#server.close(done));
  }

  #forward(socket: Socket): void {
    if (this.#cut) {
      socket.resetAndDestroy();
      return;
    }
    socket.once('data', (first: Buffer) => {
      if (this.#refused !== null && first.includes(this.#refused)) socket.resetAndDestroy();
    });
    const target = connect(this.#target);
    for (const [from, to] of [
      [socket, target],
      [target, socket],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
    socket.on('data', (chunk: Buffer) => {
      if (!this.#losing || !chunk.includes(this.#losing.text)) return;
      const { done } = this.#losing;
      this.#losing = null;
      target.unpipe(socket);
      target.once('data', () => {
        socket.resetAndDestroy();
        done();
      });
      target.resume();
    });
  }
}
