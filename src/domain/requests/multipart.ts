import { randomBytes } from 'node:crypto';

/** A part of a multipart body. With a file name it is a file, else a field. Of a file the media type is `application/octet-stream` by default, a field has none. */
export type Part = { name: string; filename: string; contentType: string; content: Uint8Array };

const ESCAPES: Record<string, string> = { '\n': '%0A', '\r': '%0D', '"': '%22' };

/** The bytes of a body of parts and its media type (RFC 7578). What the parts hold is sent as it is. */
export function multipartBody(parts: readonly Part[]): { bytes: Uint8Array; contentType: string } {
  // Nobody who writes a part can know it.
  const boundary = `latchkey-${randomBytes(24).toString('hex')}`;
  const pieces = parts.flatMap((part) => [
    Buffer.from(`--${boundary}\r\n${headOf(part)}\r\n\r\n`),
    part.content,
    Buffer.from('\r\n'),
  ]);
  const bytes = Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)]);
  return { bytes, contentType: `multipart/form-data; boundary=${boundary}` };
}

function headOf({ name, filename, contentType }: Part): string {
  const file = filename ? `; filename="${escaped(filename)}"` : '';
  const type = contentType || (filename ? 'application/octet-stream' : '');
  return `Content-Disposition: form-data; name="${escaped(name)}"${file}${type ? `\r\nContent-Type: ${type.replace(/[\r\n]/g, ' ')}` : ''}`;
}

/** As browsers escape names (https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data). */
function escaped(text: string): string {
  return text.replace(/[\n\r"]/g, (character) => ESCAPES[character]!);
}
