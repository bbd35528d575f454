import { createContext, Script } from 'node:vm';

const room: { work: (() => unknown) | null } = { work: null };
const context = createContext(room);
const script = new Script('work()');

/** Work on input of strangers took too long. */
export class TimeLimitError extends Error {}

/**
 * Runs work that does not await, and ends it after some ms, wherever it is: for queries and expressions of callers, whose cost their length does not
 * bound. The process does nothing else meanwhile. Throws TimeLimitError.
 */
export function withinMs<T>(timeout: number, work: () => T): T {
  const outer = room.work;
  room.work = work;
  try {
    return script.runInContext(context, { timeout }) as T;
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw new TimeLimitError();
    throw error;
  } finally {
    room.work = outer;
  }
}
