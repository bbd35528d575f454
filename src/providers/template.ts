const PLACEHOLDER = /\{([A-Za-z0-9_.-]+)\}/g;

/** The names in `{}` that a template holds. */
export function namesIn(template: string): string[] {
  return [...template.matchAll(PLACEHOLDER)].map((match) => match[1]!);
}

/** The template with each name replaced by one text. */
export function withSample(template: string, sample: string): string {
  return template.replace(PLACEHOLDER, sample);
}

/**
 * Whether a value can stand inside a URL without becoming more than one part of it: no `/ ? # @ \ : % &`, no white space, nothing but visible ASCII,
 * and neither empty nor a dot segment.
 */
export function isUrlPart(value: string): boolean {
  return /^[\x21-\x7e]+$/.test(value) && !/[/?#@\\:%&]/.test(value) && value !== '.' && value !== '..';
}

/** Whether a value is origin and path of an HTTP URL, and nothing else. */
export function isBaseUrl(value: string): boolean {
  return /^https?:\/\/[\x21-\x7e]+$/.test(value) && !/[?#@\\]/.test(value) && URL.canParse(value);
}

/**
 * Replaces each `{name}`. A value may not add parts to the URL around it; at the start of the template it must itself be origin and path of a URL,
 * as that of `{instance_url}`. Throws an Error that names the placeholder, never the value.
 */
export function fillIn(template: string, values: Record<string, string>): string {
  return template.replace(PLACEHOLDER, (_, name: string, at: number) => {
    const value = valueFor(values, name);
    if (at > 0 ? isUrlPart(value) : isBaseUrl(value)) return at > 0 ? value : value.replace(/\/+$/, '');
    throw new Error(`{${name}} has a value that cannot stand in a URL`);
  });
}

/** Replaces each `{name}` where any text may stand, as in a member of a body. Throws an Error that names the placeholder. */
export function fillInText(template: string, values: Record<string, string>): string {
  return template.replace(PLACEHOLDER, (_, name: string) => valueFor(values, name));
}

function valueFor(values: Record<string, string>, name: string): string {
  if (!Object.hasOwn(values, name)) throw new Error(`{${name}} has no value`);
  return values[name]!;
}
