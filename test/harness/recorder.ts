import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { EventSink, OutgoingMessage } from '../../src/clients/kafka.ts';

/** The other side of the relay, in place of a broker: keeps what is sent to it, unless it is told to be away. */
export class Recorder implements EventSink {
  readonly messages: OutgoingMessage[] = [];
  #away = false;
  #server: Server | null = null;

  async send(messages: OutgoingMessage[]): Promise<void> {
    if (this.#away) throw new Error('the broker is away');
    this.messages.push(...messages);
  }

  async close(): Promise<void> {}

  away(away: boolean): void {
    this.#away = away;
  }

  /** The values that were sent with keys of this beginning. */
  values(keyPrefix: string): Record<string, unknown>[] {
    return this.messages.filter(({ key }) => key.startsWith(keyPrefix)).map(({ value }) => JSON.parse(value));
  }

  /** Takes what other processes send, too (recorded-replica.ts). Answers the URL. */
  async listen(): Promise<string> {
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      await this.send(JSON.parse(Buffer.concat(chunks).toString())).then(
        () => response.end(),
        () => response.writeHead(503).end(),
      );
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    this.#server = server;
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
  }
}
