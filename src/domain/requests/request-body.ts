import type { JsonValue } from '../../model/json.ts';

/** What a request carries. */
export type RequestBody =
  | { kind: 'raw'; content: Uint8Array }
  | { kind: 'json'; value: JsonValue }
  | { kind: 'form'; fields: readonly (readonly [string, string])[] }
  | { kind: 'multipart'; parts: readonly Part[] };
/** A part of a multipart body; without `filename` a text field. */
type Part = { name: string; filename: string; contentType: string; content: Uint8Array };

/** The bytes of a body and its media type. `fixed`: the type is part of the body, as the boundary between parts is. */
export async function bodyBytes(
  body: RequestBody,
): Promise<{ bytes: Uint8Array; contentType: string; fixed: boolean }> {
  switch (body.kind) {
    case 'raw':
      return { bytes: body.content, contentType: 'application/octet-stream', fixed: false };
    case 'json':
      return { bytes: Buffer.from(JSON.stringify(body.value)), contentType: 'application/json', fixed: false };
    case 'form': {
      const text = new URLSearchParams(body.fields.map(([name, value]) => [name, value])).toString();
      return { bytes: Buffer.from(text), contentType: 'application/x-www-form-urlencoded', fixed: false };
    }
    case 'multipart': {
      const response = new Response(formOf(body.parts));
      const contentType = response.headers.get('content-type')!;
      return { bytes: await response.bytes(), contentType, fixed: true };
    }
  }
}

function formOf(parts: readonly Part[]): FormData {
  const form = new FormData();
  for (const { name, filename, contentType, content } of parts) {
    if (!filename && !contentType) form.append(name, Buffer.from(content).toString());
    else {
      const type = contentType || 'application/octet-stream';
      form.append(name, new Blob([new Uint8Array(content)], { type }), filename || name);
    }
  }
  return form;
}
