import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest();

/**
 * Whether a request is signed with a secret key, as it came: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 * @param host that it was meant for
 */
export function isSignedWith(
  secretKey: string,
  { method, url = '', headers }: IncomingMessage,
  body: Buffer,
  host: string,
): boolean {
  const [, credential = '', signed = '', signature] =
    /Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(headers.authorization ?? '') ?? [];
  const [, day = '', region = '', service = ''] = credential.split('/');
  const [path = '', query = ''] = url.split('?');
  const value = (name: string) => (name === 'host' ? host : String(headers[name])).trim();
  const canonical = [
    ...[method, path, query.split('&').sort().join('&')],
    ...[
      signed
        .split(';')
        .map((name) => `${name}:${value(name)}\n`)
        .join(''),
      signed,
      sha256(body),
    ],
  ].join('\n');
  const scope = `${day}/${region}/${service}/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, sha256(canonical)].join('\n');
  const key = [region, service, 'aws4_request'].reduce(hmac, hmac(`AWS4${secretKey}`, day));
  return hmac(key, text).toString('hex') === signature;
}
