import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { join } from 'node:path';
import { create, createFileRegistry, fromBinary, getOption, hasOption } from '@bufbuild/protobuf';
import {
  anyUnpack,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';
import { Client, credentials, loadPackageDefinition, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath as healthProto } from 'grpc-health-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BadRequestSchema, ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from '../../gen/google/rpc/status_pb.ts';
import { access as accessOption } from '../../gen/latchkey/v1/access_pb.ts';
import { temporaryFolder } from '../harness/process.ts';
import { ADMIN_KEY, TestServer } from '../harness/server.ts';

const bytes = (value: Buffer) => value;

function unaryBytes(
  client: Client,
  path: string,
  message: Buffer,
  headers: Record<string, string> = {},
): Promise<ServiceError | Buffer> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return new Promise((done) =>
    client.makeUnaryRequest(path, bytes, bytes, message, metadata, (error, answer) => done(error ?? answer!)),
  );
}

type HealthClient = Client & {
  check(request: object, callback: (error: ServiceError | null, answer?: { status: string }) => void): void;
  list(
    request: object,
    callback: (error: ServiceError | null, answer?: { statuses: Record<string, unknown> }) => void,
  ): void;
  watch(request: object): AsyncIterable<{ status: string }> & { cancel(): void };
};

function healthClient(port: number): HealthClient {
  const definition = loadPackageDefinition(loadSync(healthProto, { enums: String, keepCase: true })) as never as {
    grpc: { health: { v1: { Health: new (address: string, credentials: unknown) => HealthClient } } };
  };
  return new definition.grpc.health.v1.Health(`127.0.0.1:${port}`, credentials.createInsecure());
}

describe('The gRPC server, by a client of grpc-js', () => {
  let server: TestServer;
  let client: Client;
  beforeAll(async () => {
    server = await TestServer.start();
    client = new Client(`127.0.0.1:${server.replica.grpcPort}`, credentials.createInsecure());
  });
  afterAll(async () => {
    client.close();
    await server.stop();
  });
  const headers = { authorization: `Bearer ${ADMIN_KEY}` };

  it('answers a malformed message with details in grpc-status-details-bin', async () => {
    const error = (await unaryBytes(
      client,
      '/latchkey.v1.ConnectionService/GetConnection',
      Buffer.from([0xff, 0xff]),
      headers,
    )) as ServiceError;
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    const details = fromBinary(StatusSchema, error.metadata.get('grpc-status-details-bin')[0] as Buffer);
    expect(details).toMatchObject({ code: 3, message: error.details });
    expect(anyUnpack(details.details[0]!, ErrorInfoSchema)).toMatchObject({
      reason: 'FIELD_INVALID',
      domain: 'latchkey',
    });
    expect(anyUnpack(details.details[1]!, BadRequestSchema)?.fieldViolations).toHaveLength(1);
  });

  it('knows no method that the contract does not have', async () => {
    const error = (await unaryBytes(
      client,
      '/latchkey.v1.ConnectionService/Nope',
      Buffer.alloc(0),
      headers,
    )) as ServiceError;
    expect(error.code).toBe(status.UNIMPLEMENTED);
  });

  it('serves grpc.health.v1: Check, List and Watch', async () => {
    const health = healthClient(server.replica.grpcPort);
    const check = (service: string) =>
      new Promise((done) => health.check({ service }, (error, answer) => done(error?.code ?? answer?.status)));
    expect(await check('')).toBe('SERVING');
    expect(await check('latchkey.v1.ConnectionService')).toBe('SERVING');
    expect(await check('nobody')).toBe(status.NOT_FOUND);
    const listed = await new Promise<object>((done, fail) =>
      health.list({}, (error, answer) => (error ? fail(error) : done(answer!.statuses))),
    );
    expect(Object.keys(listed)).toEqual(
      expect.arrayContaining(['', 'latchkey.v1.AccessService', 'latchkey.v1.SecretService']),
    );
    const watch = health.watch({ service: '' });
    for await (const { status: first } of watch) {
      expect(first).toBe('SERVING');
      break;
    }
    health.close();
  });

  it.each(['v1', 'v1alpha'])('serves reflection %s with the contract’s own options', async (version) => {
    const call = client.makeBidiStreamRequest(
      `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
      bytes,
      bytes,
    );
    // file_containing_symbol is field 4 of the request.
    const symbol = Buffer.from('latchkey.v1.ConnectionService');
    call.write(Buffer.concat([Buffer.from([0x22, symbol.length]), symbol]));
    const answer: Buffer = await new Promise((done, fail) => call.once('data', done).once('error', fail));
    call.end();
    const files = descriptorsIn(answer);
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: files }));
    const method = registry.getService('latchkey.v1.ConnectionService')?.method.getCredentials;
    expect(method && hasOption(method, accessOption) && getOption(method, accessOption)).toMatchObject({
      permission: 'credential:read',
      revealsSecret: true,
    });
  });
});

/** File descriptors in a ServerReflectionResponse: field 4 is FileDescriptorResponse, whose field 1 repeats their bytes. */
function descriptorsIn(answer: Buffer) {
  const fields = (buffer: Buffer) => {
    const found: { no: number; data: Buffer }[] = [];
    for (let at = 0; at < buffer.length; ) {
      const varint = () => {
        let value = 0;
        for (let shift = 0; ; shift += 7) {
          const byte = buffer[at++]!;
          value += (byte & 0x7f) * 2 ** shift;
          if (byte < 0x80) return value;
        }
      };
      const tag = varint();
      const length = tag % 8 === 2 ? varint() : 0;
      if (tag % 8 === 0) varint();
      found.push({ no: tag >> 3, data: buffer.subarray(at, at + length) });
      at += length;
    }
    return found;
  };
  const response = fields(answer).find((field) => field.no === 4)!;
  return inOrder(fields(response.data).map((file) => fromBinary(FileDescriptorProtoSchema, file.data)));
}

/** Dependencies first. */
function inOrder(files: FileDescriptorProto[], done: FileDescriptorProto[] = []): FileDescriptorProto[] {
  const ready = files.filter(
    (file) => !done.includes(file) && file.dependency.every((name) => done.some((known) => known.name === name)),
  );
  return ready.length === 0 ? done : inOrder(files, [...done, ...ready]);
}

describe('TLS', () => {
  it('is spoken on both ports, HTTP/2 on HTTP, and asks gRPC clients for their certificate', async () => {
    const folder = temporaryFolder();
    const file = (name: string) => join(folder.path, name);
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder.path, stdio: 'ignore' });
    openssl(
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
      '-days',
      '1',
      '-subj',
      '/CN=test ca',
    );
    for (const name of ['server', 'client']) {
      openssl(
        'req',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.csr`,
        '-subj',
        '/CN=localhost',
        '-addext',
        'subjectAltName=DNS:localhost,IP:127.0.0.1',
      );
      openssl(
        'x509',
        '-req',
        '-in',
        `${name}.csr`,
        '-CA',
        'ca.pem',
        '-CAkey',
        'ca.key',
        '-CAcreateserial',
        '-out',
        `${name}.pem`,
        '-days',
        '1',
        '-copy_extensions',
        'copy',
      );
    }
    const server = await TestServer.start({
      env: { TLS_CERT: file('server.pem'), TLS_KEY: file('server.key'), TLS_CLIENT_CA: file('ca.pem') },
    });
    const read = (name: string) => readFileSync(file(name));
    const call = async (channel: ReturnType<typeof credentials.createSsl>) => {
      const client = new Client(`localhost:${server.replica.grpcPort}`, channel);
      const answer = await unaryBytes(client, '/latchkey.v1.AccessService/GetMe', Buffer.alloc(0), {
        authorization: `Bearer ${ADMIN_KEY}`,
      });
      client.close();
      return Buffer.isBuffer(answer) ? 'answered' : status[answer.code];
    };
    expect(await call(credentials.createSsl(read('ca.pem'), read('client.key'), read('client.pem')))).toBe('answered');
    expect(await call(credentials.createSsl(read('ca.pem')))).toBe('UNAVAILABLE');
    const session = connectHttp2(`https://localhost:${server.replica.httpPort}`, { ca: read('ca.pem') });
    const path = '/latchkey.v1.AccessService/GetMe';
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/json',
      authorization: `Bearer ${ADMIN_KEY}`,
    });
    stream.end('{}');
    let body = '';
    for await (const chunk of stream) body += chunk;
    expect(JSON.parse(body)).toMatchObject({ tenantId: 'default' });
    await server.stop();
    session.close();
    folder.remove();
  });
});
