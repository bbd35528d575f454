import { create, type Message } from '@bufbuild/protobuf';
import {
  Code,
  ConnectError,
  type ConnectRouter,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from '@connectrpc/connect';
import type { UniversalHandler, UniversalServerRequest, UniversalServerResponse } from '@connectrpc/connect/protocol';
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node';
import { LatchkeyError } from '../base/error.ts';
import type { Config } from '../config.ts';
import { callerAddress } from './address.ts';
import { errorOfResponse, refusalWith, responseWith, undecodable } from './connect-errors.ts';
import { type Exchange, type Incoming, newRequestId } from './pipeline/exchange.ts';
import type { Method } from './pipeline/method.ts';
import { type Pipeline, Refused } from './pipeline/pipeline.ts';
import { codeNumber, detailsOf } from './pipeline/status.ts';

type Request = Parameters<typeof universalRequestFromNodeRequest>[0];
type Response = Parameters<typeof universalResponseToNodeResponse>[1];

/** Network address of the caller, put in before the library sees the request. */
const addressKey = createContextKey<string>('');
/** Stops reading what is left of the request. */
const stopReadingKey = createContextKey<() => void>(() => {});
/** The call, once the pipeline has admitted it. */
const exchangeKey = createContextKey<Exchange | null>(null);

/** Serves Connect and gRPC-Web: answers false where the path is none of a method. */
export function createConnectHandler(config: Config, pipeline: Pipeline, methods: readonly Method[]) {
  const router = createConnectRouter({
    grpc: false,
    acceptCompression: [compressionGzip, compressionBrotli],
    readMaxBytes: config.maxMessageBytes,
    maxTimeoutMs: Number.MAX_SAFE_INTEGER,
    jsonOptions: { ignoreUnknownFields: false },
    requestGate: (context) => gate(pipeline, byPath, context),
  });
  const byPath = new Map(methods.map((method) => [method.path, method]));
  for (const method of methods) addMethod(router, pipeline, method);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));

  return async (request: Request, response: Response): Promise<boolean> => {
    const path = (request.url ?? '').split('?', 1)[0]!;
    const handler = handlers.get(path);
    if (!handler) return false;
    const peer = request.socket.remoteAddress ?? '';
    const forwarded = request.headers['x-forwarded-for'];
    const address = callerAddress(
      peer,
      Array.isArray(forwarded) ? forwarded.join(',') : forwarded,
      config.trustedProxies,
    );
    const contextValues = createContextValues()
      .set(addressKey, address)
      .set(stopReadingKey, () => request.destroy());
    const universal = universalRequestFromNodeRequest(request, response, undefined, contextValues);
    // A body that is refused half-way is read to its end, or the next request on the connection would wait behind it for ever.
    const body = request.iterator({ destroyOnReturn: false });
    await universalResponseToNodeResponse(await respond(pipeline, handler, { ...universal, body }), response);
    request.resume();
    return true;
  };
}

function addMethod(router: ConnectRouter, pipeline: Pipeline, method: Method): void {
  const asMessage = (response: Message) => create(method.desc.output, response);
  if (method.desc.methodKind === 'unary') {
    router.rpc(method.desc as typeof method.desc & { methodKind: 'unary' }, async (request: Message, context) => {
      try {
        return await pipeline.run(exchangeOf(context), () => request, asMessage);
      } catch (error) {
        throw connectError(error);
      }
    });
  } else if (method.desc.methodKind === 'server_streaming') {
    router.rpc(
      method.desc as typeof method.desc & { methodKind: 'server_streaming' },
      async function* (request: Message, context) {
        try {
          yield* pipeline.stream(exchangeOf(context), () => request, asMessage);
        } catch (error) {
          throw connectError(error);
        }
      },
    );
  }
}

/** Runs before the body is read: who may not call makes us read nothing. */
async function gate(pipeline: Pipeline, methods: ReadonlyMap<string, Method>, context: HandlerContext): Promise<void> {
  const method = methods.get(`/${context.service.typeName}/${context.method.name}`)!;
  const incoming: Incoming = {
    method,
    transport: context.protocolName === 'grpc-web' ? 'grpc-web' : 'connect',
    header: (name) => context.requestHeader.get(name) ?? undefined,
    address: context.values.get(addressKey),
    expired: () => (context.timeoutMs() ?? 1) <= 0,
  };
  context.responseHeader.set('cache-control', 'private, no-store');
  try {
    const exchange = await pipeline.admit(incoming);
    context.responseHeader.set('x-request-id', exchange.requestId);
    context.values.set(exchangeKey, exchange);
    const { parked } = exchange;
    exchange.parked = (error) => {
      parked?.(error);
      context.values.get(stopReadingKey)();
    };
    const interrupt = () => {
      const error = interruption(context.signal.reason);
      if (error) exchange.interrupt(error);
    };
    context.signal.addEventListener('abort', interrupt, { once: true });
    // It may have happened while the caller was being authenticated.
    if (context.signal.aborted) interrupt();
  } catch (error) {
    if (error instanceof Refused) {
      context.responseHeader.set('x-request-id', error.exchange.requestId);
      context.values.set(exchangeKey, error.exchange);
    }
    throw connectError(error);
  }
}

/** What the library refuses by itself, before our handler or without us, gets our form, too. */
async function respond(
  pipeline: Pipeline,
  handler: UniversalHandler,
  request: UniversalServerRequest,
): Promise<UniversalServerResponse> {
  const response = await handler(request);
  const exchange = request.contextValues!.get(exchangeKey);
  if (!exchange) return refusalWith(response, connectErrorOf(new LatchkeyError('METHOD_UNKNOWN'), newRequestId()));
  if (exchange.running || exchange.finished) return response;
  const error = pipeline.fail(exchange, libraryError(await errorOfResponse(response)), null);
  return responseWith(response, connectErrorOf(error, exchange.requestId));
}

function exchangeOf(context: HandlerContext): Exchange {
  return context.values.get(exchangeKey)!;
}

/** What ends a call from outside; null where the library ends it for a fault of its message, which gets an error of its own. */
function interruption(reason: unknown): LatchkeyError | null {
  const code = reason instanceof ConnectError ? reason.code : Code.Canceled;
  if (code === Code.DeadlineExceeded) return new LatchkeyError('DEADLINE_EXCEEDED');
  return code === Code.Canceled || code === Code.Aborted ? new LatchkeyError('CANCELLED') : null;
}

/** What the library refuses: unreadable messages, unknown encodings, bodies too large. */
function libraryError({ code, rawMessage }: ConnectError): LatchkeyError {
  switch (code) {
    case Code.ResourceExhausted:
      return new LatchkeyError('MESSAGE_TOO_LARGE');
    case Code.Unimplemented:
      return new LatchkeyError('METHOD_UNKNOWN');
    case Code.DeadlineExceeded:
      return new LatchkeyError('DEADLINE_EXCEEDED');
    case Code.Canceled:
    case Code.Aborted:
      return new LatchkeyError('CANCELLED');
    default:
      return new LatchkeyError('FIELD_INVALID', { fields: [undecodable(rawMessage)] });
  }
}

function connectError(failure: unknown): unknown {
  return failure instanceof Refused ? connectErrorOf(failure.error, failure.exchange.requestId) : failure;
}

function connectErrorOf(error: LatchkeyError, requestId: string): ConnectError {
  const { info, badRequest, retry } = detailsOf(error, requestId);
  const details = [info, ...(badRequest ? [badRequest] : []), ...(retry ? [retry] : [])];
  return new ConnectError(error.message, codeNumber(error), undefined, details as ConnectError['details'] as never);
}
