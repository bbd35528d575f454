import { IntegrityError } from '../../crypto/sealed-value.ts';

/** What is kept of a message: headers by name in lower case, and the body, byte for byte. */
export type Content = { headers: Record<string, string>; body: Buffer };

/** Content as bytes: the length of the headers in four bytes, big-endian; the headers as JSON; the body. */
export function packContent({ headers, body }: Content): Buffer {
  const json = Buffer.from(JSON.stringify(headers));
  const packed = Buffer.allocUnsafe(4 + json.length + body.length);
  packed.writeUInt32BE(json.length);
  json.copy(packed, 4);
  body.copy(packed, 4 + json.length);
  return packed;
}

/** Throws IntegrityError. */
export function unpackContent(packed: Buffer): Content {
  try {
    const end = 4 + packed.readUInt32BE();
    return { headers: JSON.parse(packed.subarray(4, end).toString()), body: packed.subarray(end) };
  } catch {
    throw new IntegrityError('a sealed message is not what was sealed');
  }
}
