import { timingSafeEqual } from 'node:crypto';

/** Whether two hashes are the same, in a time that tells nothing about where they differ. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
