import type { JsonValue } from '../../model/json.ts';
import { multipartBody, type Part } from './multipart.ts';

/** What a request carries. */
export type RequestBody =
  | { kind: 'raw'; content: Uint8Array }
  | { kind: 'json'; value: JsonValue }
  | { kind: 'form'; fields: readonly (readonly [string, string])[] }
  | { kind: 'multipart'; parts: readonly Part[] };

/** The bytes of a body and its media type. `fixed`: the type is part of the body, as the boundary between parts is. */
export function bodyBytes(body: RequestBody): { bytes: Uint8Array; contentType: string; fixed: boolean } {
  switch (body.kind) {
    case 'raw':
      return { bytes: body.content, contentType: 'application/octet-stream', fixed: false };
    case 'json':
      return { bytes: Buffer.from(JSON.stringify(body.value)), contentType: 'application/json', fixed: false };
    case 'form': {
      const text = new URLSearchParams(body.fields.map(([name, value]) => [name, value])).toString();
      return { bytes: Buffer.from(text), contentType: 'application/x-www-form-urlencoded', fixed: false };
    }
    case 'multipart':
      return { ...multipartBody(body.parts), fixed: true };
  }
}
