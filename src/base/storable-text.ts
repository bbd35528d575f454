/** The start of a foreign text as PostgreSQL can store it: U+FFFD in place of each NUL and each half of a surrogate pair. */
export function storableText(text: string, maxLength: number): string {
  return text.slice(0, maxLength).replaceAll('\0', '\ufffd').toWellFormed();
}
