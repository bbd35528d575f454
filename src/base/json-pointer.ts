/** Whether it is a JSON pointer (RFC 6901). */
export function isPointer(text: string): boolean {
  return (text === '' || text.startsWith('/')) && !/~(?![01])/.test(text);
}

/**
 * What a JSON pointer (RFC 6901) finds in a document; undefined where it finds nothing. Sees own properties alone, never inherited ones. Throws for
 * what is no pointer.
 */
export function pointer(document: unknown, pointer: string): unknown {
  if (!isPointer(pointer)) throw new Error('Not a JSON pointer');
  let found = document;
  for (const part of pointer.split('/').slice(1))
    found = member(found, part.replaceAll('~1', '/').replaceAll('~0', '~'));
  return found;
}

/** An own member of an object, or an item of a list; undefined where there is none. */
export function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  if (Array.isArray(value)) return /^(0|[1-9]\d*)$/.test(name) ? value[Number(name)] : undefined;
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}
