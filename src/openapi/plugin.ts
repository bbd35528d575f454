import { create, createFileRegistry } from '@bufbuild/protobuf';
import {
  CodeGeneratorResponse_Feature,
  CodeGeneratorResponseSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';
import { runNodeJs } from '@bufbuild/protoplugin';
import { openApiDocument } from './document.ts';

/** Run by buf (buf.gen.yaml): writes `openapi.json`. Ours, because no maintained plugin describes Connect's JSON with protovalidate's rules. */
runNodeJs({
  name: 'protoc-gen-latchkey-openapi',
  version: 'v1',
  run({ protoFile }) {
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: protoFile }));
    return create(CodeGeneratorResponseSchema, {
      supportedFeatures: BigInt(CodeGeneratorResponse_Feature.PROTO3_OPTIONAL),
      file: [{ name: 'openapi.json', content: `${JSON.stringify(openApiDocument(registry), null, 1)}\n` }],
    });
  },
});
