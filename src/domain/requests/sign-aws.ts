import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import type { ReadyCredential } from '../call.ts';

type ToSign = { method: string; url: URL; headers: readonly (readonly [string, string])[] };
type Data = string | ArrayBuffer | ArrayBufferView;

/** `service.region.amazonaws.com`, with whatever before it; services that are the same everywhere have no region. */
const REGIONAL = /(?:^|\.)([a-z0-9-]+)\.([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?$/;
const GLOBAL = /(?:^|\.)([a-z0-9-]+)\.amazonaws\.com$/;
const DEFAULT_REGION = 'us-east-1';

/**
 * The headers of a request with those that sign it (AWS Signature Version 4). The service and the region are those of the host, else S3 and the credential's region.
 * @param body null: it is a stream, and stays out of the signature
 */
export async function signAws(
  { fields, secrets }: Pick<ReadyCredential, 'fields' | 'secrets'>,
  { method, url, headers }: ToSign,
  body: Uint8Array | null,
  now: number,
): Promise<[string, string][]> {
  const { service, region } = scopeOf(url.hostname, String(fields.region || DEFAULT_REGION));
  const signer = new SignatureV4({
    ...{ service, region, sha256: Sha256, applyChecksum: true, uriEscapePath: service !== 's3' },
    credentials: {
      accessKeyId: String(fields.access_key_id),
      secretAccessKey: secrets.secret_access_key ?? '',
      ...(secrets.session_token ? { sessionToken: secrets.session_token } : {}),
    },
  });
  const own = headers.filter(([name]) => !/^(authorization|x-amz-(date|security-token|content-sha256))$/i.test(name));
  const unsigned: Record<string, string> = body === null ? { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } : {};
  const signed = await signer.sign(
    {
      ...{ method, protocol: url.protocol, hostname: url.hostname, path: url.pathname, query: queryOf(url) },
      headers: { ...Object.fromEntries(own), host: url.host, ...unsigned },
      ...(body === null ? {} : { body }),
    },
    { signingDate: new Date(now) },
  );
  return Object.entries(signed.headers).filter(([name]) => name !== 'host');
}

function scopeOf(host: string, region: string): { service: string; region: string } {
  const [, service, ofHost] = REGIONAL.exec(host) ?? [];
  if (service && ofHost) return { service, region: ofHost };
  const [, everywhere] = GLOBAL.exec(host) ?? [];
  return { service: everywhere ?? 's3', region: everywhere && everywhere !== 's3' ? DEFAULT_REGION : region };
}

function queryOf({ searchParams }: URL): Record<string, string[]> {
  const query: Record<string, string[]> = {};
  for (const [name, value] of searchParams) query[name] = [...(query[name] ?? []), value];
  return query;
}

/** What the signer takes for SHA-256, and for HMAC where it is given a key. */
class Sha256 {
  readonly #key: Data | undefined;
  #hash: Hash | Hmac;

  constructor(key?: Data) {
    this.#key = key;
    this.#hash = this.#new();
  }

  update(data: Data): void {
    this.#hash.update(bytes(data));
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    this.#hash = this.#new();
  }

  #new(): Hash | Hmac {
    return this.#key === undefined ? createHash('sha256') : createHmac('sha256', bytes(this.#key));
  }
}

function bytes(data: Data): Buffer {
  if (typeof data === 'string') return Buffer.from(data);
  return ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data);
}
