import type { DescMethod, DescService, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { Call } from '../domain/call.ts';

/** One method: proto in, verb, proto out. What is at hand may be answered at once. */
export type UnaryHandler<M extends DescMethod = DescMethod> = (
  call: Call,
  request: MessageShape<M['input']>,
) => MessageInitShape<M['output']> | Promise<MessageInitShape<M['output']>>;

/** A method that answers a stream. It ends when `call.signal` aborts. */
export type StreamHandler<M extends DescMethod = DescMethod> = (
  call: Call,
  request: MessageShape<M['input']>,
) => AsyncIterable<MessageInitShape<M['output']>>;

/** The handlers of a service, by local method name. */
export type Implementation<S extends DescService> = {
  [Name in keyof S['method']]: S['method'][Name] extends { methodKind: 'server_streaming' }
    ? StreamHandler<S['method'][Name]>
    : UnaryHandler<S['method'][Name]>;
};

/** A service of the contract with its handlers, by local method name. */
export type ServiceHandlers = { service: DescService; handlers: Record<string, UnaryHandler | StreamHandler> };

/** Binds handlers to a service; the compiler sees that none is missing and each fits its messages. */
export function implement<S extends DescService>(service: S, implementation: Implementation<S>): ServiceHandlers {
  return { service, handlers: implementation as unknown as ServiceHandlers['handlers'] };
}
