import type { DescMethod } from '@bufbuild/protobuf';
import { getOption, hasOption } from '@bufbuild/protobuf';
import { type Access, access as accessOption } from '../../../gen/latchkey/v1/access_pb.ts';
import { StartError } from '../../base/error.ts';
import { PERMISSIONS } from '../../domain/access/permissions.ts';
import type { ServiceHandlers, StreamHandler, UnaryHandler } from '../../handlers/implement.ts';

/** A method as the pipeline runs it. */
export type Method = {
  desc: DescMethod;
  /** As `/latchkey.v1.ConnectionService/GetConnection`. */
  path: string;
  access: Access;
  handler: UnaryHandler | StreamHandler;
  /** Who goes first where not all calls can be borne: `always` costs nothing and is never refused. */
  priority: 'always' | 'urgent' | 'ordinary';
  labels: { grpc_type: 'unary' | 'server_stream'; grpc_service: string; grpc_method: string };
};

const PRIORITIES = new Map<string, Method['priority']>([
  ['/latchkey.v1.StatusService/GetStatus', 'always'],
  ['/latchkey.v1.ConnectionService/GetCredentials', 'urgent'],
]);

/** The methods of services. Throws StartError where one does not say who may call it, or says it wrongly. */
export function methodsOf(services: readonly ServiceHandlers[]): Method[] {
  return services.flatMap(({ service, handlers }) =>
    service.methods.map((desc) => methodOf(desc, handlers[desc.localName])),
  );
}

function methodOf(desc: DescMethod, handler: UnaryHandler | StreamHandler | undefined): Method {
  const path = `/${desc.parent.typeName}/${desc.name}`;
  if (!handler) throw new StartError(`${path} has no handler`);
  if (desc.methodKind !== 'unary' && desc.methodKind !== 'server_streaming')
    throw new StartError(`${path} streams from the client`);
  const grpc_type = desc.methodKind === 'unary' ? 'unary' : 'server_stream';
  const labels = { grpc_type, grpc_service: desc.parent.typeName, grpc_method: desc.name } as const;
  return { desc, path, access: accessOf(desc, path), handler, priority: PRIORITIES.get(path) ?? 'ordinary', labels };
}

function accessOf(desc: DescMethod, path: string): Access {
  if (!hasOption(desc, accessOption))
    throw new StartError(`${path} does not say who may call it: option (latchkey.v1.access)`);
  const access = getOption(desc, accessOption);
  const { permission, authenticated } = access;
  const rules = [permission !== '', authenticated, access.public].filter(Boolean).length;
  if (rules !== 1) throw new StartError(`${path} must say one of permission, authenticated and public`);
  if (permission && !(PERMISSIONS as readonly string[]).includes(permission))
    throw new StartError(`${path} asks for ${permission}, which no role gives`);
  return access;
}
