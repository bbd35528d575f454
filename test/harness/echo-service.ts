import { create, createFileRegistry, type DescService, type MessageInitShape, setExtension } from '@bufbuild/protobuf';
import {
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_struct,
  MethodOptionsSchema,
  StructSchema,
  ValueSchema,
} from '@bufbuild/protobuf/wkt';
import { AccessSchema, access as accessOption } from '../../gen/latchkey/v1/access_pb.ts';
import type { LatchkeyError } from '../../src/base/error.ts';
import type { Call } from '../../src/domain/call.ts';
import type { ServiceHandlers } from '../../src/handlers/implement.ts';

type Rule = MessageInitShape<typeof AccessSchema>;

const STRUCT = '.google.protobuf.Struct';

/** A service of the tests' own, `test.EchoService`, for what no method of the contract does: streams, waits and throws on demand. */
export function echoDescriptor(rules: Partial<Record<'Unary' | 'Stream' | 'Public', Rule | null>> = {}): DescService {
  const method = (name: 'Unary' | 'Stream' | 'Public', fallback: Rule) => {
    const options = create(MethodOptionsSchema);
    const rule = rules[name] === undefined ? fallback : rules[name];
    if (rule) setExtension(options, accessOption, create(AccessSchema, rule));
    return { name, inputType: STRUCT, outputType: STRUCT, serverStreaming: name === 'Stream', options };
  };
  const methods = [
    method('Unary', { authenticated: true }),
    method('Stream', { authenticated: true }),
    method('Public', { public: true }),
  ];
  const file = create(FileDescriptorProtoSchema, {
    name: 'test/echo.proto',
    package: 'test',
    syntax: 'proto3',
    dependency: ['google/protobuf/struct.proto'],
    service: [{ name: 'EchoService', method: methods }],
  });
  const set = create(FileDescriptorSetSchema, { file: [file_google_protobuf_struct.proto, file] });
  return createFileRegistry(set).getService('test.EchoService')!;
}

/** What a test makes the service do. */
export type EchoBehaviour = {
  unary?: (call: Call, input: Record<string, unknown>) => Promise<Record<string, unknown>>;
  stream?: (call: Call, input: Record<string, unknown>) => AsyncIterable<Record<string, unknown>>;
};

export function echoHandlers(service: DescService, behaviour: EchoBehaviour): ServiceHandlers {
  const text = (value: unknown) => create(ValueSchema, { kind: { case: 'stringValue', value: String(value) } });
  const toStruct = (value: Record<string, unknown>) =>
    create(StructSchema, { fields: Object.fromEntries(Object.entries(value).map(([key, item]) => [key, text(item)])) });
  const fromStruct = (request: { fields: Record<string, { kind: { value?: unknown } }> }) =>
    Object.fromEntries(Object.entries(request.fields).map(([key, { kind }]) => [key, kind.value]));
  const unary = async (call: Call, request: never) =>
    toStruct((await behaviour.unary?.(call, fromStruct(request))) ?? {});
  return {
    service,
    handlers: {
      unary,
      public: unary,
      async *stream(call: Call, request: never) {
        for await (const value of behaviour.stream?.(call, fromStruct(request)) ?? []) yield toStruct(value);
      },
    } as unknown as ServiceHandlers['handlers'],
  };
}

/** Resolves when the call is aborted. */
export function aborted({ signal }: Call): Promise<LatchkeyError> {
  return new Promise((done) => {
    if (signal.aborted) done(signal.reason);
    signal.addEventListener('abort', () => done(signal.reason), { once: true });
  });
}
