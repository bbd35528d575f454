import { type DescFile, type DescService, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';

/** A definition of @grpc/proto-loader; of its parts reflection reads the descriptors alone. */
type AnyDefinition = ConstructorParameters<typeof ReflectionService>[0][string];

/** Parts of @grpc/reflection that it does not declare. */
type Version = { files: Record<string, object>; fileEncodings: Map<object, Uint8Array> };

/** Serves reflection, v1 and v1alpha, for these services. */
export function addReflection(server: Server, services: readonly DescService[]): void {
  const files = new Map<string, Buffer>();
  for (const service of services) collect(service.file, files);
  const definition = { format: '', type: {}, fileDescriptorProtos: [...files.values()] } as unknown as AnyDefinition;
  const reflection = new ReflectionService({ 'latchkey.v1': definition });
  keepOptions(reflection, files);
  reflection.addToServer(server);
}

/** Dependencies first. */
function collect(file: DescFile, files: Map<string, Buffer>): void {
  if (files.has(file.proto.name)) return;
  for (const dependency of file.dependencies) collect(dependency, files);
  files.set(file.proto.name, Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)));
}

/** The library encodes files again and so drops custom options (access, validation); the original bytes go back in. */
function keepOptions(reflection: ReflectionService, files: Map<string, Buffer>): void {
  const { v1, v1Alpha } = reflection as unknown as { v1: Version; v1Alpha: Version };
  for (const version of [v1, v1Alpha]) {
    for (const [name, bytes] of files) version.fileEncodings.set(version.files[name]!, bytes);
  }
}
