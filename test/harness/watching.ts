import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Event } from '../../gen/latchkey/v1/event_pb.ts';
import type { WatchEventsRequestSchema } from '../../gen/latchkey/v1/event_service_pb.ts';
import type { Clients } from './server.ts';

/** A watch of events that is under way, read as fast as it comes. */
export class Watch {
  readonly events: Event[] = [];
  /** Cursors, one a message. */
  readonly cursors: string[] = [];
  /** What ended it, but for `stop`. */
  readonly ended: Promise<unknown>;
  readonly #leaving = new AbortController();

  private constructor(
    { events }: Clients,
    request: MessageInitShape<typeof WatchEventsRequestSchema>,
    begun: () => void,
  ) {
    this.ended = this.#read(events.watchEvents(request, { signal: this.#leaving.signal }), begun).catch(
      (error) => error,
    );
  }

  /** Resolves once the first message has come; or it has ended. */
  static async start(
    clients: Clients,
    request: MessageInitShape<typeof WatchEventsRequestSchema> = {},
  ): Promise<Watch> {
    const begun = Promise.withResolvers<void>();
    const watch = new Watch(clients, request, begun.resolve);
    await Promise.race([begun.promise, watch.ended]);
    return watch;
  }

  get types(): string[] {
    return this.events.map(({ type }) => type);
  }

  async stop(): Promise<void> {
    this.#leaving.abort();
    await this.ended;
  }

  async #read(messages: AsyncIterable<{ events: Event[]; cursor: string }>, begun: () => void): Promise<void> {
    for await (const { events, cursor } of messages) {
      this.events.push(...events);
      this.cursors.push(cursor);
      begun();
    }
  }
}
