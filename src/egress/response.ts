import type { IncomingHttpHeaders } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, inflateRaw } from 'node:zlib';
import { EgressError } from './egress-error.ts';
import type { Answer } from './exchange.ts';

type Decompress = (body: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const gzip: Decompress = promisify(gunzip);
const deflate: Decompress = promisify(inflate);
const deflateRaw: Decompress = promisify(inflateRaw);
const brotli: Decompress = promisify(brotliDecompress);

/** Statuses whose Response has no body. */
const NULL_BODY = [204, 205, 304];
/** Those above are of no class, and treated as this one (RFC 9110, section 15). */
const LAST_STATUS = 599;
const ZLIB_METHOD_DEFLATE = 8;

/**
 * The answer as a web Response, decompressed.
 * Fails with EgressError: `too_large` where it grows beyond `maxBodyBytes`, `protocol` where it cannot be read.
 */
export async function responseOf(answer: Answer, host: string, maxBodyBytes: number): Promise<Response> {
  const { status, headers, body } = answer;
  try {
    const encoding = body.length === 0 ? 'identity' : encodingOf(headers);
    const plain =
      encoding === 'identity' ? body : await decompressorOf(encoding, body)(body, { maxOutputLength: maxBodyBytes });
    const shown = headersOf(headers);
    if (plain !== body) for (const name of ['content-encoding', 'content-length']) shown.delete(name);
    const known = Math.min(status, LAST_STATUS);
    const response = new Response(NULL_BODY.includes(status) ? null : new Uint8Array(plain), {
      ...{ status: known, headers: shown },
    });
    // Shown as it came, which the constructor does not take.
    return known === status ? response : Object.defineProperty(response, 'status', { value: status });
  } catch (error) {
    const tooLarge = (error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE';
    throw new EgressError(tooLarge ? 'too_large' : 'protocol', { host, sent: true });
  }
}

function encodingOf(headers: IncomingHttpHeaders): string {
  return (
    String(headers['content-encoding'] ?? '')
      .trim()
      .toLowerCase() || 'identity'
  );
}

function decompressorOf(encoding: string, body: Buffer): Decompress {
  if (encoding === 'gzip' || encoding === 'x-gzip') return gzip;
  if (encoding === 'br') return brotli;
  // Some servers leave out the frame of zlib, which begins with its method.
  if (encoding === 'deflate') return (body[0]! & 0x0f) === ZLIB_METHOD_DEFLATE ? deflate : deflateRaw;
  throw new Error('an unknown content-encoding');
}

function headersOf(headers: IncomingHttpHeaders): Headers {
  const all = new Headers();
  for (const [name, value] of Object.entries(headers)) for (const each of [value ?? []].flat()) all.append(name, each);
  return all;
}
