import { type DescFile, type DescService, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';

/** A definition of @grpc/proto-loader; of its parts reflection reads the descriptors alone. */
type AnyDefinition = ConstructorParameters<typeof ReflectionService>[0][string];

/** Parts of @grpc/reflection that it does not declare. */
type Version = {
  files: Record<string, object>;
  fileEncodings: Map<object, Uint8Array>;
  fileDependencies: Map<object, object[]>;
};

/** Serves reflection, v1 and v1alpha, for these services. */
export function addReflection(server: Server, services: readonly DescService[]): void {
  const files = new Map<string, DescFile>();
  for (const service of services) collect(service.file, files);
  const encoded = new Map(
    [...files].map(([name, file]) => [name, Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto))]),
  );
  const definition = { format: '', type: {}, fileDescriptorProtos: [...encoded.values()] } as unknown as AnyDefinition;
  const reflection = new ReflectionService({ 'latchkey.v1': definition });
  keepOptions(reflection, files, encoded);
  reflection.addToServer(server);
}

/** Dependencies first. */
function collect(file: DescFile, files: Map<string, DescFile>): void {
  if (files.has(file.proto.name)) return;
  for (const dependency of file.dependencies) collect(dependency, files);
  files.set(file.proto.name, file);
}

/**
 * The library encodes files again and so drops custom options (access, validation), and answers only those dependencies that types need: the original
 * bytes go back in, and all dependencies.
 */
function keepOptions(reflection: ReflectionService, files: Map<string, DescFile>, encoded: Map<string, Buffer>): void {
  const { v1, v1Alpha } = reflection as unknown as { v1: Version; v1Alpha: Version };
  for (const version of [v1, v1Alpha]) {
    for (const [name, file] of files) {
      const known = version.files[name]!;
      version.fileEncodings.set(known, encoded.get(name)!);
      version.fileDependencies.set(
        known,
        file.dependencies.map((dependency) => version.files[dependency.proto.name]!),
      );
    }
  }
}
