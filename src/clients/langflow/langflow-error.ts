import { LatchkeyError } from '../../base/error.ts';
import type { Reason } from '../../base/reasons.ts';
import { EgressError } from '../../egress/egress-error.ts';

/** With what a call to Langflow was authenticated: the superuser's key, a user's key, a user's token or password, nothing. */
export type LangflowAccess = 'admin' | 'user' | 'session' | 'none';

/**
 * - `refused`: an answer that says no.
 * - `unreachable`: none that is HTTP, or none in time.
 * - `not_json`: a web page, which Langflow with its own web pages answers with status 200 where an API of another kind says 404 (until 1.8).
 * - `redirected`: the base URL leads elsewhere.
 */
export type LangflowFailure = 'refused' | 'unreachable' | 'not_json' | 'redirected';

type Details = {
  status?: number;
  said?: string;
  fields?: string[];
  retryAfterMs?: number | undefined;
  cause?: unknown;
};

/** A call to Langflow that failed. What Langflow said is for decisions alone: it can hold keys and tracebacks. */
export class LangflowError extends Error {
  override readonly name = 'LangflowError';
  readonly failure: LangflowFailure;
  readonly access: LangflowAccess;
  /** 0 where there was no answer. */
  readonly status: number;
  readonly #said: string;
  /** Fields that it found wrong. */
  readonly fields: readonly string[];
  readonly retryAfterMs: number | undefined;

  constructor(failure: LangflowFailure, access: LangflowAccess, details: Details = {}) {
    const { status = 0, said = '', fields = [], retryAfterMs, cause } = details;
    super(`Langflow: ${failure}${status ? ` (${status})` : ''}`, cause instanceof EgressError ? { cause } : undefined);
    this.failure = failure;
    this.access = access;
    this.status = status;
    this.#said = said;
    this.fields = fields;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether its words hold this, in whatever case. */
  says(text: string): boolean {
    return this.#said.toLowerCase().includes(text.toLowerCase());
  }

  /** The component that failed in a run, where the words name one. */
  get component(): string {
    return /building Component ([\w][\w .-]{0,60}?):/i.exec(this.#said)?.[1] ?? '';
  }
}

/** What was asked of Langflow. */
export type LangflowOperation = 'account' | 'flows' | 'create' | 'flow' | 'run';

/** Whether it refuses who calls: for their key or token, or for what they may not. */
export function isRefused(error: unknown): boolean {
  return error instanceof LangflowError && (error.status === 401 || error.status === 403);
}

type Row = {
  failure?: LangflowFailure;
  access?: LangflowAccess;
  operation?: LangflowOperation;
  status?: '5xx' | readonly number[];
  says?: string;
  reason: Reason;
  providerError: string;
};

/** What a failure means to our caller: the first row that fits. */
const MEANINGS: readonly Row[] = [
  { failure: 'unreachable', reason: 'PROVIDER_UNAVAILABLE', providerError: 'unreachable' },
  { failure: 'redirected', reason: 'INTEGRATION_MISCONFIGURED', providerError: 'redirected' },
  // What answers for a flow that is not there; elsewhere something else than Langflow answers.
  { failure: 'not_json', operation: 'flow', reason: 'FLOW_NOT_FOUND', providerError: '' },
  { failure: 'not_json', reason: 'PROVIDER_UNAVAILABLE', providerError: 'not_json' },
  { status: [429], reason: 'PROVIDER_RATE_LIMITED', providerError: 'too_many_requests' },
  // Who deactivated a user there has a reason.
  {
    access: 'none',
    operation: 'account',
    status: [400, 401],
    reason: 'INTEGRATION_MISCONFIGURED',
    providerError: 'login_refused',
  },
  { access: 'admin', status: [401, 403], reason: 'INTEGRATION_MISCONFIGURED', providerError: 'admin_key_refused' },
  { operation: 'run', status: [500], reason: 'FLOW_RUN_FAILED', providerError: 'flow_failed' },
  { status: '5xx', reason: 'PROVIDER_UNAVAILABLE', providerError: 'server_error' },
  { operation: 'create', status: [400, 422], reason: 'FIELD_INVALID', providerError: '' },
  { operation: 'flow', status: [401, 403, 404], reason: 'FLOW_NOT_FOUND', providerError: '' },
  { operation: 'run', status: [401, 403], reason: 'FLOW_NOT_FOUND', providerError: '' },
  // Any error of a component that speaks of what was not found; the flow itself was looked for before.
  { operation: 'run', status: [404], says: 'flow identifier', reason: 'FLOW_NOT_FOUND', providerError: '' },
  { operation: 'run', status: [404], reason: 'FLOW_RUN_FAILED', providerError: 'flow_failed' },
  { operation: 'run', status: [400, 422], reason: 'FIELD_INVALID', providerError: '' },
  { reason: 'PROVIDER_UNAVAILABLE', providerError: 'unexpected_answer' },
];

const RETRY_AFTER_MS = 5_000;

export type LangflowContext = { operation: LangflowOperation; integrationId?: string | null; flowId?: string };

/** What our caller is told, without a word of Langflow's own. Other errors stay as they are. */
export function langflowFailure(error: unknown, { operation, integrationId, flowId = '' }: LangflowContext): unknown {
  if (!(error instanceof LangflowError)) return error;
  const { reason, providerError } = MEANINGS.find((row) => fits(row, error, operation))!;
  if (reason === 'FIELD_INVALID')
    return new LatchkeyError(reason, { fields: fieldsOf(error, operation), cause: error });
  const metadata: Record<string, string> = reason === 'FLOW_NOT_FOUND' ? { flow_id: flowId } : {};
  if (providerError) metadata.provider_error = providerError;
  if (reason === 'INTEGRATION_MISCONFIGURED' && integrationId) metadata.integration_id = integrationId;
  if (reason === 'FLOW_RUN_FAILED' && error.component) metadata.component = error.component;
  const waits = reason === 'PROVIDER_UNAVAILABLE' || reason === 'PROVIDER_RATE_LIMITED';
  return new LatchkeyError(reason, {
    ...{ metadata, cause: error },
    ...(waits ? { retryAfterMs: error.retryAfterMs ?? RETRY_AFTER_MS } : {}),
  });
}

function fits(row: Row, error: LangflowError, operation: LangflowOperation): boolean {
  const { failure, access, status } = error;
  return (
    (row.failure ?? failure) === failure &&
    (row.access ?? access) === access &&
    (row.operation ?? operation) === operation &&
    (row.status === undefined || (row.status === '5xx' ? status >= 500 : row.status.includes(status))) &&
    (row.says === undefined || error.says(row.says))
  );
}

/** Fields of a request that Langflow names are named as the contract does where that has the same. */
function fieldsOf({ fields }: LangflowError, operation: LangflowOperation) {
  const within = operation === 'run' ? 'run.' : '';
  const named = fields.length > 0 ? fields : [operation === 'run' ? 'tweaks' : 'data'];
  return named.map((field) => ({ field: `${within}${field}`, description: 'is refused by Langflow' }));
}
