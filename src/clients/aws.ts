import { LatchkeyError } from '../base/error.ts';
import type { Egress } from '../egress/egress.ts';
import { EgressError } from '../egress/egress-error.ts';
import { harmless } from '../oauth/oauth-error.ts';

/** Keys of AWS, or of a store that speaks S3, and where they are for. */
export type AwsKeys = {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
  region: string;
  /** Of a store that is not AWS; empty: AWS. */
  endpoint: string;
  signal: AbortSignal;
  timeoutMs: number;
};
type Door = Pick<Egress, 'fetch'>;

/** An answer of AWS that is a failure. */
export class AwsError extends Error {
  override readonly name = 'AwsError';
  /** AWS's name of the error, as `AccessDenied`: letters, digits and a few signs. */
  readonly code: string;
  readonly status: number;

  constructor(code: string, status: number) {
    super(`AWS answered ${status} ${code}`);
    this.code = code;
    this.status = status;
  }
}

/** Whose keys they are: any key may ask. Throws AwsError, EgressError, or ADDRESS_FORBIDDEN. */
export async function callerIdentity(door: Door, keys: AwsKeys): Promise<{ account: string; arn: string }> {
  const { STSClient, GetCallerIdentityCommand } = await import('@aws-sdk/client-sts');
  const client = new STSClient(settings(door, keys));
  const answer = await translated(() => client.send(new GetCallerIdentityCommand({})));
  return { account: answer.Account ?? '', arn: answer.Arn ?? '' };
}

/** Reads one entry of a bucket's list; without a bucket, of the list of buckets. Throws AwsError, EgressError, or ADDRESS_FORBIDDEN. */
export async function listOne(door: Door, keys: AwsKeys, bucket: string): Promise<void> {
  const { S3Client, ListObjectsV2Command, ListBucketsCommand } = await import('@aws-sdk/client-s3');
  const client = new S3Client({
    ...settings(door, keys),
    // Stores that are not AWS seldom have a name for each bucket.
    forcePathStyle: keys.endpoint !== '',
    ...{ disableS3ExpressSessionAuth: true, useArnRegion: false, followRegionRedirects: false },
  });
  await translated(async () => {
    if (bucket) await client.send(new ListObjectsV2Command({ Bucket: bucket, MaxKeys: 1 }));
    else await client.send(new ListBucketsCommand({}));
  });
}

const DEFAULT_REGION = 'us-east-1';

/** All that the SDK would look for in the environment and the files of this machine, or ask its cloud for, is said here. */
function settings(door: Door, { accessKeyId, secretAccessKey, sessionToken, region, endpoint, ...limits }: AwsKeys) {
  return {
    ...(endpoint ? { endpoint } : {}),
    region: region || DEFAULT_REGION,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) },
    requestHandler: { handle: (request: AwsRequest) => handle(door, request, limits) },
    ...{ maxAttempts: 1, retryMode: 'standard', defaultsMode: 'standard' as const },
    ...{ ignoreConfiguredEndpointUrls: true, useDualstackEndpoint: false, useFipsEndpoint: false },
    ...{ requestChecksumCalculation: 'WHEN_REQUIRED' as const, responseChecksumValidation: 'WHEN_REQUIRED' as const },
    ...{ authSchemePreference: ['sigv4'], sigv4aSigningRegionSet: [], userAgentAppId: 'latchkey' },
  };
}

type AwsRequest = {
  method: string;
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query?: Record<string, string | string[] | null>;
  headers: Record<string, string>;
  body?: unknown;
};

/** Every byte of the SDK goes through the one door. */
async function handle(door: Door, request: AwsRequest, limits: Pick<AwsKeys, 'signal' | 'timeoutMs'>) {
  const { host: _, 'content-length': __, ...headers } = request.headers;
  const response = await door.fetch(urlOf(request), {
    ...{ method: request.method, headers, ...limits },
    body: typeof request.body === 'string' ? Buffer.from(request.body) : null,
  });
  return {
    response: {
      statusCode: response.status,
      headers: Object.fromEntries(response.headers),
      body: new Uint8Array(await response.arrayBuffer()),
    },
  };
}

function urlOf({ protocol, hostname, port, path, query = {} }: AwsRequest): string {
  const pairs = Object.entries(query).flatMap(([name, values]) =>
    [values ?? ''].flat().map((value) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`),
  );
  return `${protocol}//${hostname}${port ? `:${port}` : ''}${path}${pairs.length > 0 ? `?${pairs.sort().join('&')}` : ''}`;
}

async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof LatchkeyError || error instanceof EgressError) throw error;
    const { name, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } };
    throw new AwsError(harmless(name), $metadata?.httpStatusCode ?? 0);
  }
}
