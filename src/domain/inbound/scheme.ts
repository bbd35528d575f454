import type { InboundScheme, InboundVerification, SignatureDescription } from '../../model/inbound-endpoint.ts';
import type { InboundRules } from '../call.ts';

const HMAC: SignatureDescription = {
  ...{ signatureHeader: 'x-signature', timestampHeader: 'x-timestamp', signedContent: '{timestamp}.{body}' },
  ...{ algorithm: 'sha256', encoding: 'hex', prefix: '', separator: '', timestampPrefix: '' },
  ...{ timestampFormat: 'unix_s', keyEncoding: 'raw', toleranceS: 300 },
};
const RULES: InboundRules = {
  signature: null,
  token: null,
  idHeader: '',
  idPointer: '',
  keepHeaders: [],
  answersUrlVerification: false,
};

/** The schemes that are built in, with their sources. Those that a caller describes have the same shape. */
const BUILT_IN: Record<Exclude<InboundScheme, 'CUSTOM'>, InboundRules> = {
  /** https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md */
  STANDARD_WEBHOOKS: {
    ...RULES,
    signature: {
      ...HMAC,
      ...{ signatureHeader: 'webhook-signature', timestampHeader: 'webhook-timestamp' },
      ...{ signedContent: '{id}.{timestamp}.{body}', encoding: 'base64', prefix: 'v1,', separator: ' ' },
      keyEncoding: 'whsec',
    },
    idHeader: 'webhook-id',
  },
  HMAC_TIMESTAMP: { ...RULES, signature: HMAC },
  /** https://docs.slack.dev/authentication/verifying-requests-from-slack; retries have the event's id and a new timestamp. */
  SLACK_V0: {
    ...RULES,
    signature: {
      ...HMAC,
      ...{ signatureHeader: 'x-slack-signature', timestampHeader: 'x-slack-request-timestamp' },
      ...{ signedContent: 'v0:{timestamp}:{body}', prefix: 'v0=' },
    },
    idPointer: '/event_id',
    keepHeaders: ['x-slack-retry-num', 'x-slack-retry-reason'],
    answersUrlVerification: true,
  },
  /** https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries */
  GITHUB_SHA256: {
    ...RULES,
    signature: {
      ...HMAC,
      ...{ signatureHeader: 'x-hub-signature-256', timestampHeader: '', signedContent: '{body}', prefix: 'sha256=' },
    },
    idHeader: 'x-github-delivery',
    keepHeaders: ['x-github-event', 'x-github-hook-id'],
  },
  /** https://docs.stripe.com/webhooks/signature */
  STRIPE: {
    ...RULES,
    signature: {
      ...HMAC,
      ...{ signatureHeader: 'stripe-signature', timestampHeader: '', timestampPrefix: 't=', prefix: 'v1=' },
      separator: ',',
    },
    idPointer: '/id',
  },
  TOKEN: { ...RULES, token: { header: 'x-webhook-token', prefix: '' } },
  NONE: RULES,
};

/** How messages of an endpoint are verified: the scheme, with what the endpoint says otherwise. Names of headers are in lower case. */
export function rulesOf(given: InboundVerification): InboundRules {
  const { scheme, signature, tokenHeader, tokenPrefix, idHeader, idPointer } = given;
  const rules = scheme === 'CUSTOM' ? { ...RULES, signature: lowerCase(signature) } : BUILT_IN[scheme];
  return {
    ...rules,
    token: rules.token && { header: tokenHeader.toLowerCase() || rules.token.header, prefix: tokenPrefix },
    idHeader: idHeader.toLowerCase() || rules.idHeader,
    idPointer: idPointer || rules.idPointer,
  };
}

function lowerCase(signature: SignatureDescription | null): SignatureDescription | null {
  if (!signature) return null;
  const { signatureHeader, timestampHeader } = signature;
  const headers = { signatureHeader: signatureHeader.toLowerCase(), timestampHeader: timestampHeader.toLowerCase() };
  return { ...signature, ...headers };
}

const OF_PROVIDERS: Record<string, InboundScheme> = {
  ...{ slack: 'SLACK_V0', github: 'GITHUB_SHA256', 'github-app': 'GITHUB_SHA256' },
  ...{ stripe: 'STRIPE', 'stripe-apps': 'STRIPE' },
};

/** The scheme by which a provider signs; Standard Webhooks where that is not known. */
export function schemeOfProvider(provider: string): InboundScheme {
  return Object.hasOwn(OF_PROVIDERS, provider) ? OF_PROVIDERS[provider]! : 'STANDARD_WEBHOOKS';
}
