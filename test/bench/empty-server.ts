import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import {
  GetCredentialsRequestSchema,
  GetCredentialsResponseSchema,
} from '../../gen/latchkey/v1/connection_service_pb.ts';
import { secret } from '../harness/credentials.ts';

/** The limit of the runtime: a bare grpc-js server whose handler decodes the same request and encodes the same response, and does nothing else. */
const server = new Server();
server.addService(
  {
    GetCredentials: {
      path: '/latchkey.v1.ConnectionService/GetCredentials',
      requestStream: false,
      responseStream: false,
      requestDeserialize: (bytes: Buffer) => fromBinary(GetCredentialsRequestSchema, bytes),
      requestSerialize: (value: Buffer) => value,
      responseSerialize: (value) => Buffer.from(toBinary(GetCredentialsResponseSchema, value)),
      responseDeserialize: (value: Buffer) => value,
    },
  },
  {
    GetCredentials(call: { request: { connectionId: string } }, callback: (error: null, response: object) => void) {
      const response = create(GetCredentialsResponseSchema, {
        connectionId: call.request.connectionId,
        credential: { kind: { case: 'bearer', value: { token: secret('sk_live_0123456789') } } },
        headers: [{ name: 'Authorization', value: 'Bearer sk_live_0123456789' }],
        generation: 1,
      });
      callback(null, response);
    },
  },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.stdout.write(`{"grpcPort":${port},"message":"ready"}\n`);
});
