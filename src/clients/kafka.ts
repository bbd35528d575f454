import type { Producer } from '@platformatic/kafka';
import type { KafkaSettings } from '../config.ts';

/** A message for a topic; those with one key stay in their order. */
export type OutgoingMessage = { topic: string; key: string; value: string; headers: Record<string, string> };

/** Where events are sent. */
export type EventSink = {
  /** Resolves once all are stored there for good; one call at a time. Where it fails, some may have been stored. */
  send(messages: OutgoingMessage[]): Promise<void>;
  close(): Promise<void>;
};

/** The client's own retries do not end while there is no broker: a send that took so long has failed. */
export const SEND_MS = 5_000;
const CONNECT_MS = 2_000;
const CLOSE_MS = 1_000;
const RETRIES = 3;
const RETRY_PAUSE_MS = 200;

type TextProducer = Producer<string, string, string, string>;

/**
 * Kafka, by an idempotent producer that waits for all in-sync replicas. The brokers are the operator's word, and so are those that they name: they do not pass
 * the guard of `egress/`, which is for addresses that tenants choose.
 */
export class Kafka implements EventSink {
  readonly #settings: KafkaSettings;
  #producer: TextProducer | null = null;

  constructor(settings: KafkaSettings) {
    this.#settings = settings;
  }

  async send(messages: OutgoingMessage[]): Promise<void> {
    this.#producer ??= await openProducer(this.#settings);
    try {
      await within(SEND_MS, this.#producer.send({ messages }));
    } catch (error) {
      // What it still tries to send must not come after what is sent next.
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    const producer = this.#producer;
    this.#producer = null;
    if (producer) await within(CLOSE_MS, producer.close(true)).catch(() => {});
  }
}

async function openProducer({ brokers, clientId, tls, sasl }: KafkaSettings): Promise<TextProducer> {
  // It takes a third of a second to load, which is for those alone who use it.
  const { Producer, stringSerializers } = await import('@platformatic/kafka');
  return new Producer({
    ...{ clientId, bootstrapBrokers: brokers.slice(), serializers: stringSerializers },
    ...{ idempotent: true, autocreateTopics: true },
    ...{
      retries: RETRIES,
      retryDelay: RETRY_PAUSE_MS,
      connectTimeout: CONNECT_MS,
      timeout: SEND_MS,
      requestTimeout: SEND_MS,
    },
    ...(tls ? { tls: tls.ca ? { ca: tls.ca } : {} } : {}),
    ...(sasl ? { sasl: { ...sasl } } : {}),
  });
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`Kafka did not answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
