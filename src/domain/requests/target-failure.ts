import { LatchkeyError } from '../../base/error.ts';
import type { EgressError } from '../../egress/egress-error.ts';

const AGAIN_MS = 1_000;

/** A request that got no usable answer, as the contract says it. */
export function targetFailure(
  { kind }: EgressError,
  host: string,
  attempts: number,
  limitBytes: number,
): LatchkeyError {
  switch (kind) {
    case 'timeout':
      return new LatchkeyError('TARGET_TIMEOUT', { metadata: { host, attempts: String(attempts) } });
    case 'too_large':
      return new LatchkeyError('RESPONSE_TOO_LARGE', { metadata: { host, limit_bytes: String(limitBytes) } });
    default: {
      const metadata = { host, cause: kind, attempts: String(attempts) };
      return new LatchkeyError('TARGET_UNAVAILABLE', { retryAfterMs: AGAIN_MS, metadata });
    }
  }
}
