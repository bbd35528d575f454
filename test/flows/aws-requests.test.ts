import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { verifiedScope } from '../harness/aws-signature.ts';
import { secret } from '../harness/credentials.ts';
import { type Receiver, startReceiver } from '../harness/receiver.ts';
import { ADMIN_KEY, type Clients, TestServer } from '../harness/server.ts';

const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
let server: TestServer;
let clients: Clients;
let bucket: Receiver;
beforeAll(async () => {
  bucket = await startReceiver();
  server = await TestServer.start();
  clients = server.operator('grpc');
});
afterAll(async () => {
  await server.stop();
  await bucket[Symbol.asyncDispose]();
});
beforeEach(() => {
  bucket.requests.length = 0;
});

let made = 0;
async function connection(fields: Record<string, unknown> = {}) {
  const value = {
    accessKeyId: 'AKIDEXAMPLE',
    secretAccessKey: secret(SECRET),
    bucket: 'mine',
    endpoint: bucket.url,
    region: 'eu-central-1',
    ...fields,
  };
  const { connection: created } = await clients.connections.createConnection({
    name: `s${++made}`,
    credential: { kind: { case: 'aws', value } },
  });
  return created!;
}

describe('A request with an AWS key', () => {
  it('is signed, path, query, headers and body', async () => {
    const { id: connectionId, baseUrl } = await connection({ sessionToken: secret('the-session') });
    expect(baseUrl).toBe(`${bucket.url}/mine`);
    const body = { content: { case: 'raw' as const, value: new TextEncoder().encode('kept') } };
    await clients.connections.sendRequest({
      ...{ connectionId, method: 'PUT', path: '/a%20folder/%C3%A9.txt?acl&x=%20y', body },
      query: [{ name: 'prefix', value: 'a/b c' }],
      headers: [{ name: 'X-Amz-Meta-Mine', value: '1' }],
    });
    await clients.connections.sendRequest({ connectionId });
    const [put, get] = bucket.requests;
    expect(put?.body.toString()).toBe('kept');
    expect(put?.headers).toMatchObject({ 'x-amz-security-token': 'the-session' });
    const scope = verifiedScope(put!, SECRET);
    expect(scope).toMatchObject({ service: 's3', region: 'eu-central-1' });
    expect(scope?.signed).toEqual(expect.arrayContaining(['host', 'x-amz-meta-mine', 'x-amz-security-token']));
    expect(verifiedScope(get!, SECRET)).not.toBeNull();
    expect(verifiedScope({ ...put!, path: '/mine/other' }, SECRET)).toBeNull();
    expect(verifiedScope(put!, 'another key')).toBeNull();
  });

  it('goes through the proxy, where the body is a stream outside the signature', async () => {
    const { id } = await connection();
    const headers = { authorization: `Bearer ${ADMIN_KEY}` };
    const put = await fetch(`${server.httpUrl}/proxy/${id}/large.bin`, {
      method: 'PUT',
      headers,
      body: Buffer.alloc(300_000, 'z'),
    });
    expect(put.status).toBe(200);
    const [request] = bucket.requests;
    expect(request?.headers).toMatchObject({ 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'content-length': '300000' });
    expect(verifiedScope(request!, SECRET)).not.toBeNull();
  });

  it('goes to the bucket’s own host, where it has one', async () => {
    expect((await connection({ endpoint: '' })).baseUrl).toBe('https://mine.s3.eu-central-1.amazonaws.com');
    expect((await connection({ endpoint: '', bucket: 'a.b', region: '' })).baseUrl).toBe(
      'https://s3.us-east-1.amazonaws.com/a.b',
    );
  });
});
