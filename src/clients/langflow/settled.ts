import { setTimeout as pause } from 'node:timers/promises';
import { LangflowError } from './langflow-error.ts';

/** 1.7 to 1.12.1 answer before they have stored: what was just made is there a moment later. */
export const LOOKS_MS: readonly number[] = [100, 300, 700, 1_500];

/** Langflow with web pages answers a path without a thing at its end with a page, until 1.8. */
export function isAbsent(error: unknown): boolean {
  return error instanceof LangflowError && (error.status === 404 || error.failure === 'not_json');
}

/** Does it again for a while, where it fails in a way that may pass: what it is about was made a moment ago. */
export async function settled<T>(
  act: () => Promise<T>,
  mayPass: (error: unknown) => boolean = isAbsent,
  looksMs: readonly number[] = LOOKS_MS,
): Promise<T> {
  for (const waitMs of looksMs) {
    try {
      return await act();
    } catch (error) {
      if (!mayPass(error)) throw error;
      await pause(waitMs);
    }
  }
  return act();
}
