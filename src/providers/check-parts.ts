import { isPointer } from '../base/json-pointer.ts';
import { namesIn, withSample } from './template.ts';

/** Takes one fault: the field's path inside what is checked, and what is wrong with it. */
export type Report = (field: string, description: string) => void;

/** Headers that the request itself or the credential sets. */
const OWN_HEADERS = [
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'cookie',
  'host',
  'transfer-encoding',
];

/** Checks that a URL is one when it is filled in, and that each name in it is known. A name at its start stands for origin and path. */
export function checkUrl(field: string, url: string, names: ReadonlySet<string>, report: Report): void {
  for (const name of namesIn(url)) if (!names.has(name)) report(field, `holds {${name}}, which nothing fills in`);
  const atStart = namesIn(url)[0];
  const rest =
    atStart !== undefined && url.startsWith(`{${atStart}}`) ? `https://x${url.slice(atStart.length + 2)}` : url;
  // A name may be a part of the host, of the path, or the port.
  if (!['x', '1'].some((sample) => isEndpoint(withSample(rest, sample)))) report(field, 'is no HTTP URL');
}

/** Checks that headers leave alone what the request or the credential sets, and that each is there once. */
export function checkHeaders(field: string, headers: Record<string, string> = {}, report: Report): void {
  const seen = new Set<string>();
  for (const name of Object.keys(headers)) {
    const at = `${field}[${JSON.stringify(name)}]`;
    if (OWN_HEADERS.includes(name.toLowerCase())) report(at, 'is not for a definition to set');
    if (seen.has(name.toLowerCase())) report(at, 'is there twice');
    seen.add(name.toLowerCase());
  }
}

/** Checks that what is there is a JSON pointer. */
export function checkPointer(field: string, pointer: string | undefined, report: Report): void {
  if (pointer !== undefined && !isPointer(pointer)) report(field, 'is no JSON pointer');
}

/** Checks that a place of failure comes with what is to be found there. */
export function checkFailure(part: { failurePointer?: string; failureWhen?: string }, report: Report): void {
  checkPointer('failure_pointer', part.failurePointer, report);
  if (Boolean(part.failurePointer) !== Boolean(part.failureWhen)) report('failure_when', 'goes with failure_pointer');
}

function isEndpoint(text: string): boolean {
  if (/[{}\\#\s]/.test(text) || !URL.canParse(text)) return false;
  const url = new URL(text);
  return /^https?:$/.test(url.protocol) && !url.username && !url.password;
}
