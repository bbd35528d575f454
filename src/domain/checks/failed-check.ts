import { LatchkeyError } from '../../base/error.ts';
import { REASONS, type Reason } from '../../base/reasons.ts';
import { AwsError } from '../../clients/aws.ts';
import { SignInError, type SignInFailure } from '../../clients/sign-in.ts';
import { EgressError, type EgressFailure } from '../../egress/egress-error.ts';
import type { CheckStatus } from '../../model/connection-health.ts';
import { type Finding, finding, notAsked } from './check-report.ts';

/** Errors of ours that tell something of a connection. What is not here is our own failure, and tells nothing. */
const STATUS_OF: Partial<Record<Reason, { status: CheckStatus; advice: string }>> = {
  CONNECTION_DISABLED: { status: 'DISABLED', advice: 'Call EnableConnection to let it be used again.' },
  INTEGRATION_DISABLED: { status: 'DISABLED', advice: 'Call EnableIntegration to let its connections be used again.' },
  REAUTHORIZATION_REQUIRED: {
    status: 'REAUTHORIZATION_REQUIRED',
    advice: 'Call StartAuthorization with the id of the connection, and send a person to the URL that it answers.',
  },
  CREDENTIAL_EXPIRED: { status: 'EXPIRED', advice: 'Give it a new credential with UpdateConnection.' },
  SECRET_MISSING: { status: 'MISCONFIGURED', advice: 'Create the secret that it refers to.' },
  SCOPE_MISSING: { status: 'MISCONFIGURED', advice: 'Call StartAuthorization to have the missing scopes granted.' },
  INTEGRATION_MISCONFIGURED: {
    status: 'MISCONFIGURED',
    advice: 'Check the integration, and call SetIntegrationCredentials.',
  },
  INTEGRATION_NOT_FOUND: { status: 'MISCONFIGURED', advice: 'Give the connection to an integration that exists.' },
  PROVIDER_NOT_FOUND: { status: 'MISCONFIGURED', advice: 'Name a provider that exists.' },
  ADDRESS_FORBIDDEN: {
    status: 'MISCONFIGURED',
    advice: 'Check the host. One in a private network must be allowed by the operator with EGRESS_ALLOW.',
  },
  HOST_NOT_ALLOWED: {
    status: 'MISCONFIGURED',
    advice: 'Add the host of the check to allowed_hosts of the connection, where the credential may be sent there.',
  },
  FIELD_INVALID: {
    status: 'MISCONFIGURED',
    advice: 'Correct the check of the connection, or what its provider needs in config.',
  },
  PROVIDER_UNAVAILABLE: { status: 'UNREACHABLE', advice: 'Look at the status of the service, and test again later.' },
  PROVIDER_RATE_LIMITED: { status: 'RATE_LIMITED', advice: 'Test again later.' },
  AUTHORIZATION_FAILED: { status: 'INVALID', advice: 'Give the connection a new credential with UpdateConnection.' },
  AUTHORIZATION_DENIED: { status: 'INVALID', advice: 'Give the connection a new credential with UpdateConnection.' },
};

const CAUSES: Record<string, CheckStatus> = { pending: 'PENDING', revoked: 'REVOKED' };

/** What a failure to check says of the connection. Throws those that say nothing of it. */
export function findingOf(error: unknown): Finding {
  if (error instanceof SignInError) return SIGN_IN[error.failure](error.code);
  if (error instanceof EgressError && error.kind !== 'aborted') return NO_ANSWER[error.kind];
  if (error instanceof AwsError) return ofAws(error);
  const known = error instanceof LatchkeyError ? STATUS_OF[error.reason] : undefined;
  if (!known) throw error;
  const { reason, metadata, fields } = error as LatchkeyError;
  const status = CAUSES[metadata.cause ?? ''] ?? known.status;
  const text = fields[0] ? `${fields[0].field} ${fields[0].description}` : REASONS[reason].text;
  return notAsked(status, reason, `${text[0]!.toUpperCase()}${text.slice(1)}.`, known.advice);
}

const CHECK_ADDRESS = 'Check host and port, and whether the service runs.';

const NO_ANSWER: Record<Exclude<EgressFailure, 'aborted'>, Finding> = {
  timeout: finding('UNREACHABLE', 0, { message: 'The service did not answer in time', advice: CHECK_ADDRESS }),
  connect: finding('UNREACHABLE', 0, { message: 'The service could not be connected to', advice: CHECK_ADDRESS }),
  reset: finding('UNREACHABLE', 0, { message: 'The service closed the connection', advice: CHECK_ADDRESS }),
  protocol: finding('UNREACHABLE', 0, {
    message: 'What answers there does not speak the protocol',
    advice: CHECK_ADDRESS,
  }),
  too_large: finding('UNKNOWN', 0, {
    message: 'The service answered more than is read',
    advice: 'Give the connection a check with a smaller answer.',
  }),
};

const SIGN_IN: Record<SignInFailure, (code: number) => Finding> = {
  refused: (code) => finding('INVALID', code),
  too_weak: (code) =>
    finding('INVALID', code, {
      message: 'The server wants a stronger way of signing in',
      advice: 'Use a password for applications, or what else the server offers for this.',
    }),
  no_tls: (code) =>
    finding('UNREACHABLE', code, {
      message: 'The connection cannot be protected as it should be, or is not as the server wants it',
      advice: 'Check the port, and set `security` as the server has it.',
    }),
  untrusted: () =>
    finding('UNREACHABLE', 0, {
      message: 'TLS failed, or the certificate of the server is not to be trusted',
      advice: 'Check that the host is as the certificate has it, and that port and `security` belong together.',
    }),
  temporary: (code) => finding('UNREACHABLE', code),
  timeout: () => NO_ANSWER.timeout,
  lost: () => NO_ANSWER.reset,
  protocol: (code) =>
    finding('UNREACHABLE', code, { message: 'The server answered what was not expected', advice: CHECK_ADDRESS }),
};

/** What S3 and STS call a key that is not good. */
const KEY_REFUSED =
  /^(InvalidClientTokenId|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|ExpiredTokenException|UnrecognizedClientException|IncompleteSignature|TokenRefreshRequired|InvalidSecurity|NotSignedUp)$/;

function ofAws({ code, status }: AwsError): Finding {
  if (KEY_REFUSED.test(code)) return finding('INVALID', status);
  if (code === 'AccessDenied' || code === 'AllAccessDisabled') return finding('RESTRICTED', status);
  if (code === 'NoSuchBucket')
    return finding('RESTRICTED', status, {
      message: 'The key was accepted, and there is no such bucket',
      advice: 'Check the name of the bucket, and the region.',
    });
  if (code === 'PermanentRedirect' || code === 'AuthorizationHeaderMalformed' || status === 301)
    return finding('UNKNOWN', status, {
      message: 'The bucket is in another region',
      advice: 'Give the connection the region of the bucket.',
    });
  if (code === 'RequestTimeTooSkewed')
    return finding('UNKNOWN', status, {
      message: 'The clocks differ too much',
      advice: 'Set the clock of this server.',
    });
  if (status === 429 || code === 'SlowDown' || code === 'Throttling') return finding('RATE_LIMITED', status);
  return finding(status >= 500 || status === 0 ? 'UNREACHABLE' : 'UNKNOWN', status);
}
