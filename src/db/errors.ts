import { LatchkeyError } from '../base/error.ts';

const UNAVAILABLE_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'EAI_AGAIN',
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  '53300', // too_many_connections
  '25006', // read_only_sql_transaction: a standby that was promoted elsewhere
]);
const UNAVAILABLE_TEXTS =
  /Connection terminated|timeout exceeded when trying to connect|Query read timeout|not queryable|Client was closed/;

/** Whether the database could not be reached, or went away; https://www.postgresql.org/docs/current/errcodes-appendix.html */
export function isDatabaseUnavailable(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const code = 'code' in at && typeof at.code === 'string' ? at.code : '';
    if (
      UNAVAILABLE_CODES.has(code) ||
      (code.startsWith('08') && code !== '08P01') ||
      UNAVAILABLE_TEXTS.test(at.message)
    )
      return true;
    if (at instanceof AggregateError && at.errors.some(isDatabaseUnavailable)) return true;
  }
  return false;
}

/** DATABASE_UNAVAILABLE. */
export function databaseUnavailable(cause: unknown): LatchkeyError {
  return new LatchkeyError('DATABASE_UNAVAILABLE', { retryAfterMs: 1_000, cause });
}

/** Name of the unique constraint or index that a statement ran into, if that is what failed. */
export function brokenUniqueConstraint(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || error.code !== '23505') return undefined;
  return 'constraint' in error && typeof error.constraint === 'string' ? error.constraint : undefined;
}
