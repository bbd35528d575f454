/** A distinguished name, its parts from the entry up to the root, in a form in which equal ones are the same. */
export type Dn = { parts: readonly DnPart[]; key: string };
type DnPart = { attribute: string; value: string };

const PART = /^\s*([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)*)\s*=((?:\\[0-9A-Fa-f]{2}|\\[ "#+,;<=>\\]|[^\\,\0])*)$/;

/** Reads a distinguished name (RFC 4514); null: it is none. A part of several values counts as one of one. */
export function parseDn(text: string): Dn | null {
  if (text.trim() === '') return { parts: [], key: '' };
  const parts: DnPart[] = [];
  for (const piece of piecesOf(text)) {
    const [, attribute, escaped] = PART.exec(piece) ?? [];
    if (attribute === undefined || escaped === undefined || escaped.trim() === '') return null;
    const value = unescaped(escaped.trim());
    if (value.includes('\0')) return null;
    parts.push({ attribute, value });
  }
  return { parts, key: keyOf(parts) };
}

/** Of the entry above; null: there is none. */
export function parentKey({ parts }: Dn): string | null {
  return parts.length === 0 ? null : keyOf(parts.slice(1));
}

/** Whether `key` lies under `base`, or is it. */
export function isUnder(key: string, base: string): boolean {
  return base === '' || key === base || key.endsWith(`\n${base}`);
}

function keyOf(parts: readonly DnPart[]): string {
  // A line break parts what no value can part: those in values are made spaces.
  return parts.map(({ attribute, value }) => `${attribute}=${value.replace(/\s+/g, ' ')}`.toLowerCase()).join('\n');
}

/** Split at the commas that are not escaped. */
function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === ',') {
      pieces.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return [...pieces, text.slice(start)];
}

function unescaped(text: string): string {
  return text.replace(/(?:\\[0-9A-Fa-f]{2})+|\\([ "#+,;<=>\\])/g, (escapes, character: string | undefined) =>
    character === undefined ? Buffer.from(escapes.replaceAll('\\', ''), 'hex').toString() : character,
  );
}
