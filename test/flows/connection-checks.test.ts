import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConnectionCheckStatus as Status } from '../../gen/latchkey/v1/connection_pb.ts';
import {
  type AwsCredential,
  type AwsCredentialSchema,
  type CredentialSchema,
  TransportSecurity,
} from '../../gen/latchkey/v1/credential_pb.ts';
import { type AwsKeys, callerIdentity, listOne } from '../../src/clients/aws.ts';
import { Egress } from '../../src/egress/egress.ts';
import type { EgressInit } from '../../src/egress/request.ts';
import { AccountWorld, accountOf } from '../harness/accounts.ts';
import { authorizeAt, callbackUris, credentialOf, setUp } from '../harness/authorizations.ts';
import { verifiedScope } from '../harness/aws-signature.ts';
import { secret } from '../harness/credentials.ts';
import { listen, listenHttp } from '../harness/listener.ts';
import { OAuthServer } from '../harness/oauth-server.ts';
import { temporaryFolder } from '../harness/process.ts';
import { type Clients, TestServer } from '../harness/server.ts';
import { PASSWORD, startFtp, startSmtp, USER } from '../harness/sign-in-servers.ts';

const receivedOf = ({ method = '', url: path = '', headers }: IncomingMessage, body: Buffer) => ({
  method,
  path,
  headers,
  body,
});

type S3rver = { run(): Promise<{ port: number }>; close(): Promise<void> };
const S3rver = createRequire(import.meta.url)('s3rver') as new (options: object) => S3rver;

type Credential = MessageInitShape<typeof CredentialSchema>;

let server: TestServer;
let clients: Clients;
let tenants = 0;

beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.stop());
beforeEach(async () => {
  clients = await server.as('admin', { tenant: `checks-${++tenants}` });
});

let named = 0;
async function test(credential: Credential, given: { timeoutMs?: number } = {}) {
  const { connection } = await clients.connections.createConnection({ name: `c${++named}`, credential, ...given });
  return clients.connections.testConnection({ connectionId: connection!.id });
}

describe('A test of a mail or file server', () => {
  const credentialFor = (kind: 'smtp' | 'ftp', port: number, password = PASSWORD): Credential => {
    const value = { host: '127.0.0.1', port, username: USER, password: secret(password) };
    const security = TransportSecurity.NONE;
    return { kind: { case: kind, value: { ...value, security } } } as Credential;
  };

  it('says whether the sign-in succeeds, by reply code and in our own words', async () => {
    for (const [kind, start, good, bad] of [
      ['smtp', () => startSmtp({ disabledCommands: ['STARTTLS'] }), 235, 535],
      ['ftp', () => startFtp(), 230, 530],
    ] as const) {
      await using target = await start();
      expect(await test(credentialFor(kind, target.port))).toMatchObject({
        ...{ success: true, status: Status.VALID, statusCode: good, tokenValid: true, service: kind },
      });
      const refused = await test(credentialFor(kind, target.port, 'wrong-canary'));
      expect(refused).toMatchObject({ success: false, status: Status.INVALID, statusCode: bad });
      // These servers repeat the password in what they answer.
      expect(JSON.stringify({ ...refused, health: null })).not.toContain('wrong-canary');
      expect(target.heard.filter((line) => line === 'MAIL')).toEqual([]);
    }
    expect(server.logLines.join('')).not.toContain('wrong-canary');
  });

  it('ends within the connection’s time', async () => {
    await using silent = await listen(createServer());
    for (const kind of ['smtp', 'ftp'] as const) {
      const startedAt = performance.now();
      const late = await test(credentialFor(kind, silent.port), { timeoutMs: 300 });
      expect(late).toMatchObject({ status: Status.UNREACHABLE, message: 'The service did not answer in time.' });
      expect(performance.now() - startedAt).toBeLessThan(3_000);
    }
  });
});

describe('A test of a store that speaks S3', () => {
  const folder = temporaryFolder();
  let store: S3rver;
  let endpoint = '';
  beforeAll(async () => {
    store = new S3rver({
      ...{ port: 0, address: '127.0.0.1', silent: true, directory: join(folder.path, 's3') },
      configureBuckets: [{ name: 'ours', configs: [] }],
    });
    endpoint = `http://127.0.0.1:${(await store.run()).port}`;
  });
  afterAll(async () => {
    await store.close();
    folder.remove();
  });
  const aws = (fields: Exclude<MessageInitShape<typeof AwsCredentialSchema>, AwsCredential> = {}) => ({
    kind: {
      case: 'aws' as const,
      value: { accessKeyId: 'S3RVER', secretAccessKey: secret('S3RVER'), bucket: 'ours', endpoint, ...fields },
    },
  });

  it('asks for one entry of the bucket, or for the buckets', async () => {
    for (const bucket of ['ours', ''])
      expect(await test(aws({ bucket }))).toMatchObject({ success: true, status: Status.VALID, statusCode: 200 });
  });

  it('tells a key that is not good from a bucket that is not there', async () => {
    const refused = await test(aws({ accessKeyId: 'nobody' }));
    expect(refused).toMatchObject({ success: false, status: Status.INVALID, statusCode: 403 });
    expect(await test(aws({ bucket: 'theirs' }))).toMatchObject({ status: Status.RESTRICTED, statusCode: 404 });
  });

  it('signs what it sends', async () => {
    const good: boolean[] = [];
    await using signed = await listenHttp(async (request, response) => {
      const body = Buffer.concat(await request.toArray());
      good.push(verifiedScope(receivedOf(request, body), 'the-secret-key') !== null);
      response.end('<ListBucketResult/>');
    });
    for (const key of ['the-secret-key', 'another'])
      await test(
        aws({ endpoint: `${signed.url}/base`, secretAccessKey: secret(key), sessionToken: secret('session') }),
      );
    expect(good).toEqual([true, false]);
  });

  it('reports a store that is away or speaks something else', async () => {
    await using other = await listenHttp((_, response) => void response.writeHead(500).end('<html>oh'));
    expect(await test(aws({ endpoint: other.url }))).toMatchObject({ status: Status.UNREACHABLE, statusCode: 500 });
    expect(other.connections).toBe(1);
    await other[Symbol.asyncDispose]();
    expect(await test(aws({ endpoint: other.url }))).toMatchObject({ status: Status.UNREACHABLE, statusCode: 0 });
  });
});

describe('A test at AWS itself', () => {
  afterEach(() => vi.unstubAllEnvs());

  /** The one door, on the way to a server of the test's in place of AWS. */
  async function atAws(answers: Record<string, { status: number; body: string }>) {
    const asked: { host: string; path: string; authorization: string; signed: boolean }[] = [];
    const aws = await listenHttp(async (request, response) => {
      const host = String(request.headers['x-host']);
      const received = receivedOf(request, Buffer.concat(await request.toArray()));
      const signed = verifiedScope({ ...received, headers: { ...received.headers, host } }, 's') !== null;
      asked.push({ host, path: request.url ?? '', authorization: request.headers.authorization ?? '', signed });
      const answer = answers[host.split('.')[0]!] ?? { status: 404, body: '' };
      response.writeHead(answer.status, { 'content-type': 'text/xml' }).end(answer.body);
    });
    const egress = new Egress({ allow: ['127.0.0.1'] });
    const fetch = (given: string | URL, init: EgressInit = {}) => {
      const { host, pathname, search, protocol } = new URL(given);
      expect(protocol).toBe('https:');
      return egress.fetch(`${aws.url}${pathname}${search}`, {
        ...init,
        headers: { ...(init.headers as Record<string, string>), 'x-host': host },
      });
    };
    const keys: AwsKeys = {
      ...{ accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 's', region: 'eu-central-1', endpoint: '' },
      ...{ signal: AbortSignal.timeout(5_000), timeoutMs: 5_000 },
    };
    const close = async () => {
      await egress.close();
      await aws[Symbol.asyncDispose]();
    };
    return { asked, door: { fetch }, keys, [Symbol.asyncDispose]: close };
  }

  const IDENTITY = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
    <Arn>arn:aws:iam::123456789012:user/ada</Arn><UserId>AIDA</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`;
  const failure = (code: string) => `<Error><Code>${code}</Code><Message>no</Message></Error>`;

  it('asks whose key it is, then for the bucket, whatever the environment and files of the machine say', async () => {
    const elsewhere = { AWS_ENDPOINT_URL: 'http://127.0.0.1:1', AWS_REGION: 'us-gov-west-1', AWS_PROFILE: 'nobody' };
    const files = { AWS_CONFIG_FILE: '/nowhere/config', AWS_USE_FIPS_ENDPOINT: 'true', AWS_MAX_ATTEMPTS: '9' };
    for (const [name, value] of Object.entries({ ...elsewhere, ...files })) vi.stubEnv(name, value);
    await using aws = await atAws({
      sts: { status: 200, body: IDENTITY },
      ours: { status: 200, body: '<ListBucketResult/>' },
    });
    expect(await callerIdentity(aws.door, aws.keys)).toMatchObject({ account: '123456789012' });
    await listOne(aws.door, aws.keys, 'ours');
    expect(aws.asked).toMatchObject([
      { host: 'sts.eu-central-1.amazonaws.com', path: '/', signed: true },
      { host: 'ours.s3.eu-central-1.amazonaws.com', path: '/?list-type=2&max-keys=1', signed: true },
    ]);
    for (const { authorization } of aws.asked)
      expect(authorization).toMatch(/^AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE\/\d{8}\/eu-central-1\//);
  });

  it('tries nothing twice, and tells the failures apart by AWS’s own names', async () => {
    await using aws = await atAws({
      sts: { status: 403, body: `<ErrorResponse>${failure('InvalidClientTokenId')}</ErrorResponse>` },
      closed: { status: 403, body: failure('AccessDenied') },
      moved: { status: 301, body: failure('PermanentRedirect') },
      busy: { status: 503, body: failure('SlowDown') },
    });
    await expect(callerIdentity(aws.door, aws.keys)).rejects.toMatchObject({
      code: 'InvalidClientTokenId',
      status: 403,
    });
    for (const [bucket, code] of [
      ['closed', 'AccessDenied'],
      ['moved', 'PermanentRedirect'],
      ['busy', 'SlowDown'],
    ] as const)
      await expect(listOne(aws.door, aws.keys, bucket), bucket).rejects.toMatchObject({ code });
    expect(aws.asked).toHaveLength(4);
  });
});

describe('A test of tokens that a person granted', () => {
  it('asks the provider whose they are, and renews one that is refused', async () => {
    const oauth = await OAuthServer.start({ redirectUris: callbackUris(server, 'idp') });
    try {
      const integrationId = await setUp(clients, oauth.definition('idp'), {
        scopes: ['openid', 'email', 'offline_access'],
      });
      const { connectionId } = await authorizeAt(clients, integrationId);
      const report = await clients.connections.testConnection({ connectionId });
      expect(report).toMatchObject({ success: true, status: Status.VALID, providerAccountId: 'ada', service: 'idp' });
      expect(report.grantedScopes).toContain('openid');
      const { accessToken } = await credentialOf(clients, connectionId);
      await (await oauth.provider.AccessToken.find(accessToken!))!.destroy();
      oauth.requests.clear();
      expect(await clients.connections.testConnection({ connectionId })).toMatchObject({ status: Status.VALID });
      expect([oauth.count('/me'), oauth.count('/token')]).toEqual([2, 1]);
      oauth.down.add('/me');
      expect(await clients.connections.testConnection({ connectionId })).toMatchObject({ status: Status.UNREACHABLE });
      oauth.down.clear();
      await clients.connections.revokeConnection({ connectionId });
      expect(await clients.connections.testConnection({ connectionId })).toMatchObject({ status: Status.REVOKED });
    } finally {
      await oauth.stop();
    }
  });
});

describe('A test of an account at Langflow', () => {
  it('asks Langflow whose key it is', async () => {
    await using world = await AccountWorld.start();
    world.newTenant();
    const ada = await world.as();
    const { connectionId } = await accountOf(ada);
    expect(await ada.connections.testConnection({ connectionId })).toMatchObject({
      ...{ success: true, status: Status.VALID, service: 'langflow' },
    });
    world.langflow.next('GET', /^\/api\/v1\/users\/whoami$/, { answer: { status: 403, body: { detail: 'Invalid' } } });
    expect(await ada.connections.testConnection({ connectionId })).toMatchObject({ status: Status.INVALID });
  });
});
