import type { EventEmitter } from 'node:events';
import { create, type DescMethod, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import type { HealthImplementation } from 'grpc-health-check';
import { LatchkeyError, StartError } from '../base/error.ts';
import type { Config } from '../config.ts';
import { callerAddress } from './address.ts';
import { type Exchange, newRequestId } from './pipeline/exchange.ts';
import type { Method } from './pipeline/method.ts';
import { type Pipeline, Refused } from './pipeline/pipeline.ts';
import { asLatchkeyError, codeNumber, statusBytes } from './pipeline/status.ts';
import { addReflection } from './reflection.ts';

type Call = ServerUnaryCall<Buffer, Buffer> | ServerWritableStream<Buffer, Buffer>;

/** Above our own limit, so that a message somewhat too large gets an error with details; this one is grpc-js's, without. */
const TRANSPORT_LIMIT_FACTOR = 4;

/** The gRPC server: the contract's services, grpc.health.v1 and reflection. */
export function createGrpcServer(
  config: Config,
  pipeline: Pipeline,
  methods: readonly Method[],
  health: HealthImplementation,
): Server {
  const server = new Server({
    'grpc.max_receive_message_length': config.maxMessageBytes * TRANSPORT_LIMIT_FACTOR,
    'grpc.max_concurrent_streams': config.maxInFlight,
    'grpc.keepalive_time_ms': 60_000,
    'grpc.keepalive_timeout_ms': 20_000,
    // Its counts are served to nobody.
    'grpc.enable_channelz': 0,
  });
  const byService = Map.groupBy(methods, (method) => method.desc.parent);
  for (const [service, own] of byService) {
    const definition: Record<string, ServiceDefinition[string]> = {};
    const handlers: Record<string, handleUnaryCall<Buffer, Buffer> | handleServerStreamingCall<Buffer, Buffer>> = {};
    for (const method of own) {
      definition[method.desc.name] = definitionOf(method.desc);
      handlers[method.desc.name] =
        method.labels.grpc_type === 'unary' ? unary(config, pipeline, method) : stream(config, pipeline, method);
    }
    server.addService(definition, handlers);
    health.setStatus(service.typeName, 'SERVING');
  }
  health.addToServer(server);
  addReflection(server, [...byService.keys()]);
  return server;
}

/** Listens. Answers the port. Throws StartError. */
export function listenGrpc(server: Server, { host, grpcPort, tls }: Config): Promise<number> {
  const credentials = tls
    ? ServerCredentials.createSsl(tls.clientCa, [{ private_key: tls.key, cert_chain: tls.cert }], tls.clientCa !== null)
    : ServerCredentials.createInsecure();
  return new Promise((done, fail) => {
    server.bindAsync(`${host.includes(':') ? `[${host}]` : host}:${grpcPort}`, credentials, (error, port) => {
      if (error)
        fail(
          new StartError(
            `gRPC cannot listen on ${host}:${grpcPort}: ${error.message}\n  Another process may use the port; GRPC_PORT chooses another.`,
          ),
        );
      else done(port);
    });
  });
}

/** Messages stay bytes here: the pipeline decodes, so that a malformed one gets an error with details. */
function definitionOf(method: DescMethod): ServiceDefinition[string] {
  const bytes = (value: Buffer) => value;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: false,
    responseStream: method.methodKind === 'server_streaming',
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
}

function unary(config: Config, pipeline: Pipeline, method: Method): handleUnaryCall<Buffer, Buffer> {
  const run = (call: ServerUnaryCall<Buffer, Buffer>, exchange: Exchange) =>
    pipeline.run(
      exchange,
      () => decode(config, method, call.request),
      (response) => encode(method, response),
    );
  // A call that needs to wait for nothing is answered without a promise.
  return (call, callback) => {
    // Headers, message and trailers leave together: grpc-js gathers what is written at once into one packet.
    const answer = (exchange: Exchange, bytes: Buffer) => {
      sendRequestId(call, exchange);
      callback(null, bytes);
    };
    const refuse = (error: unknown) => {
      if (error instanceof Refused) sendRequestId(call, error.exchange);
      callback(statusOf(error));
    };
    const proceed = (exchange: Exchange) => {
      const bytes = run(call, exchange);
      if (!(bytes instanceof Promise)) return answer(exchange, bytes);
      return bytes.then((late) => answer(exchange, late));
    };
    try {
      const exchange = admit(config, pipeline, method, call);
      const answering = exchange instanceof Promise ? exchange.then(proceed) : proceed(exchange);
      answering?.catch(refuse);
    } catch (error) {
      refuse(error);
    }
  };
}

function stream(config: Config, pipeline: Pipeline, method: Method): handleServerStreamingCall<Buffer, Buffer> {
  return (call) => {
    answer(call).then(
      () => call.end(),
      (error) => {
        if (error instanceof Refused && !error.exchange.running) sendRequestId(call, error.exchange);
        call.emit('error', statusOf(error));
      },
    );
  };

  async function answer(call: ServerWritableStream<Buffer, Buffer>): Promise<void> {
    const exchange = await admit(config, pipeline, method, call);
    sendRequestId(call, exchange);
    const messages = pipeline.stream(
      exchange,
      () => decode(config, method, call.request),
      (response) => encode(method, response),
    );
    for await (const bytes of messages) if (!call.write(bytes)) await drained(call, exchange);
  }
}

function drained(call: ServerWritableStream<Buffer, Buffer>, { signal }: Exchange): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    call.once('drain', done);
    signal.addEventListener('abort', () => done(), { once: true });
  });
}

function admit(config: Config, pipeline: Pipeline, method: Method, call: Call): Exchange | Promise<Exchange> {
  const header = (name: string) => call.metadata.get(name)[0]?.toString();
  const forwarded = config.trustedProxies > 0 ? header('x-forwarded-for') : undefined;
  const address = callerAddress(hostOf(call.getPeer()), forwarded, config.trustedProxies);
  const admitted = pipeline.admit({ method, transport: 'grpc', header, address, expired: () => deadlinePassed(call) });
  const watched = (exchange: Exchange) => {
    const interrupt = () => {
      if (!exchange.finished)
        exchange.interrupt(new LatchkeyError(deadlinePassed(call) ? 'DEADLINE_EXCEEDED' : 'CANCELLED'));
    };
    (call as EventEmitter).on('cancelled', interrupt);
    // It may have happened while the caller was being authenticated.
    if (call.cancelled) interrupt();
    return exchange;
  };
  return admitted instanceof Promise ? admitted.then(watched) : watched(admitted);
}

function sendRequestId(call: Call, { requestId }: Exchange): void {
  const metadata = new Metadata();
  metadata.set('x-request-id', requestId);
  call.sendMetadata(metadata);
}

function deadlinePassed(call: Call): boolean {
  const deadline = call.getDeadline();
  return Number(deadline) <= Date.now();
}

function decode(config: Config, { desc }: Method, bytes: Buffer): Message {
  if (bytes.length > config.maxMessageBytes) throw new LatchkeyError('MESSAGE_TOO_LARGE');
  try {
    return fromBinary(desc.input, bytes);
  } catch (error) {
    throw new LatchkeyError('FIELD_INVALID', {
      fields: [{ field: '', description: 'the message cannot be decoded' }],
      cause: error,
    });
  }
}

const encoded = new WeakMap<Message, Buffer>();

/** A frozen response does not change: its bytes are kept for as long as it is. */
function encode({ desc }: Method, message: Message): Buffer {
  const known = encoded.get(message);
  if (known) return known;
  const array = toBinary(desc.output, create(desc.output, message));
  const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  if (Object.isFrozen(message)) encoded.set(message, bytes);
  return bytes;
}

function statusOf(failure: unknown): Partial<Error> & { code: number; details: string; metadata: Metadata } {
  const { error, exchange } =
    failure instanceof Refused ? failure : { error: asLatchkeyError(failure), exchange: null };
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(statusBytes(error, exchange?.requestId ?? newRequestId())));
  return { code: codeNumber(error), details: error.message, metadata };
}

function hostOf(peer: string): string {
  const host = peer.slice(0, peer.lastIndexOf(':'));
  return host.startsWith('[') ? host.slice(1, -1) : host;
}
