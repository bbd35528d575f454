import type { Reason } from '../../base/reasons.ts';
import type { CheckStatus } from '../../model/connection-health.ts';

/** What a check found out, in our own words alone: what the other side said could hold the credential. */
export type Finding = {
  status: CheckStatus;
  /** HTTP status or reply code; 0: there was none. */
  statusCode: number;
  message: string;
  /** What to do; empty: nothing. */
  advice: string;
  reason: Reason | '';
  /** As the other side says it; undefined: it does not. */
  accountId?: string | undefined;
  accountEmail?: string | undefined;
  grantedScopes?: string[] | undefined;
};

/** A finding, with what is known of the connection. */
export type CheckReport = Required<Pick<Finding, 'status' | 'statusCode' | 'message' | 'advice' | 'reason'>> & {
  /** Name of the provider, else the kind of the credential. */
  service: string;
  latencyMs: number;
  grantedScopes: string[];
  missingScopes: string[];
  accountId: string;
  accountEmail: string;
};

type Answered = 'VALID' | 'RESTRICTED' | 'INVALID' | 'UNREACHABLE' | 'UNKNOWN' | 'RATE_LIMITED';

const WORDS: Record<Answered, { message: string; advice: string }> = {
  VALID: { message: 'The credential was accepted', advice: '' },
  RESTRICTED: {
    message: 'The credential was accepted, with fewer rights than were asked for',
    advice: 'Where more rights are needed, grant them at the service, or give the connection another credential.',
  },
  INVALID: {
    message: 'The credential was refused',
    advice: 'Give the connection a new credential with UpdateConnection.',
  },
  UNREACHABLE: {
    message: 'The service cannot answer now',
    advice: 'Look at the status of the service, and test again later.',
  },
  UNKNOWN: {
    message: 'The answer says nothing of the credential',
    advice: 'Give the connection a check whose answer tells whether the credential works, with UpdateConnection.',
  },
  RATE_LIMITED: { message: 'The service takes no more requests now', advice: 'Test again later.' },
};

/** A finding by what the other side answered, or did not. Words other than those of the status can be given. */
export function finding(
  status: Answered,
  statusCode = 0,
  given: Partial<Pick<Finding, 'message' | 'advice' | 'accountId' | 'accountEmail' | 'grantedScopes'>> = {},
): Finding {
  const { message, advice, ...found } = { ...WORDS[status], ...given };
  return { status, statusCode, advice, reason: '', ...found, message: sentence(message, statusCode) };
}

function sentence(message: string, statusCode: number): string {
  return statusCode ? `${message} (${statusCode}).` : `${message}.`;
}

/** Nobody was asked, for this reason. */
export function notAsked(status: CheckStatus, reason: Reason | '', message: string, advice: string): Finding {
  return { status, statusCode: 0, message, advice, reason };
}

export function unsupported(message: string, advice: string): Finding {
  return notAsked('UNSUPPORTED', '', message, advice);
}
