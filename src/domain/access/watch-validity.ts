import { LatchkeyError } from '../../base/error.ts';
import type { Call } from '../call.ts';
import { refuseUnlessEntitled } from './refuse-unless-valid.ts';

const LOOK_MS = 3_000;
/** For how long a call goes on of which nobody knows whether it may, because the database does not answer. */
const UNKNOWN_MS = 30_000;

/** Looks now and then whether a call that lasts may go on, as `refuseUnlessEntitled` does, though its token may end; where not, tells `end` why, once. Answers what ends the looking. */
export function watchValidity(call: Call, end: (error: LatchkeyError) => void): () => void {
  let knownAt = performance.now();
  let looking = false;
  const look = async () => {
    if (looking) return;
    looking = true;
    try {
      await refuseUnlessEntitled(call);
      knownAt = performance.now();
    } catch (error) {
      if (error instanceof LatchkeyError) stopWith(error);
      else if (performance.now() - knownAt > UNKNOWN_MS)
        stopWith(new LatchkeyError('DATABASE_UNAVAILABLE', { retryAfterMs: 1_000, cause: error }));
    }
    looking = false;
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();
  const stop = () => clearInterval(timer);
  const stopWith = (error: LatchkeyError) => {
    stop();
    end(error);
  };
  return stop;
}
