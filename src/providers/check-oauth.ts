import type { IdentityDefinition, OAuthDefinition, RevocationDefinition } from '../oauth/definition.ts';
import { checkFailure, checkHeaders, checkPointer, checkUrl, type Report } from './check-parts.ts';
import { endpointsOf } from './provider.ts';
import { namesIn } from './template.ts';

/** Parameters of the authorization request that are made for each request, never fixed. */
const OWN_PARAMETERS = [
  'client_id',
  'code_challenge',
  'code_challenge_method',
  'nonce',
  'redirect_uri',
  'request',
  'request_uri',
  'response_type',
  'scope',
  'state',
];

/** The rules of a definition's OAuth beyond those of the contract. */
export function checkOAuth(oauth: OAuthDefinition, names: ReadonlySet<string>, report: Report): void {
  const { answer = {}, identity, revocation, subCredentials = [] } = oauth;
  for (const [field, url] of Object.entries(endpointsOf(oauth))) checkUrl(field, url, names, report);
  checkFlows(oauth, report);
  checkHeaders('token_headers', oauth.tokenHeaders, report);
  checkAnswer(oauth, report);
  if (oauth.errors) {
    const inErrors: Report = (path, description) => report(`errors.${path}`, description);
    checkFailure(oauth.errors, inErrors);
    checkPointer('code_pointer', oauth.errors.codePointer, inErrors);
  }
  const kept = new Set([...names, ...Object.keys(answer.kept ?? {}), 'client_id']);
  if (identity) checkIdentity(identity, oauth, kept, (path, description) => report(`identity.${path}`, description));
  if (revocation) {
    for (const name of Object.keys(identity?.kept ?? {})) kept.add(name);
    checkRevocation(revocation, oauth, kept, (path, description) => report(`revocation.${path}`, description));
  }
  if (new Set(subCredentials.map(({ name }) => name)).size < subCredentials.length) {
    report('sub_credentials', 'have one name twice');
  }
}

function checkFlows(oauth: OAuthDefinition, report: Report): void {
  const { authorizationUrl, deviceAuthorizationUrl, authorizationParameters = {}, scopes } = oauth;
  if (!authorizationUrl && !deviceAuthorizationUrl && !oauth.clientCredentials) {
    report('authorization_url', 'is needed where there is no other way to a token');
  }
  if (oauth.pushedAuthorizationRequestUrl && !authorizationUrl) {
    report('pushed_authorization_request_url', 'is of no use without authorization_url');
  }
  if (oauth.sendsIss && !oauth.issuer) report('sends_iss', 'is of no use without issuer');
  if (oauth.jwksUrl && !oauth.issuer) report('jwks_url', 'is of no use without issuer');
  for (const name of Object.keys(authorizationParameters)) {
    if (!OWN_PARAMETERS.includes(name) && name !== scopes?.parameter) continue;
    report(`authorization_parameters[${JSON.stringify(name)}]`, 'is not for a definition to set');
  }
}

function checkAnswer(oauth: OAuthDefinition, report: Report): void {
  const { answer = {}, identity, subCredentials = [] } = oauth;
  const secrets = [answer.accessToken || '/access_token', answer.refreshToken || '/refresh_token', '/id_token'];
  for (const sub of subCredentials) secrets.push(sub.accessToken, sub.refreshToken || sub.accessToken);
  const checkKept = (field: string, kept: Record<string, string> = {}) => {
    for (const [name, pointer] of Object.entries(kept)) {
      const at = `${field}[${JSON.stringify(name)}]`;
      checkPointer(at, pointer, report);
      if (secrets.some((secret) => overlaps(secret, pointer))) report(at, 'would keep a token');
    }
  };
  checkKept('answer.kept', answer.kept);
  if (identity?.from === 'token_answer') checkKept('identity.kept', identity.kept);
  else checkPointers('identity.kept', Object.values(identity?.kept ?? {}), report);
  if (answer.baseUrlFrom && !Object.hasOwn(answer.kept ?? {}, answer.baseUrlFrom)) {
    report('answer.base_url_from', 'is no name of answer.kept');
  }

  const { accessToken, refreshToken, expiresIn, refreshExpiresIn, scope } = answer;
  checkPointers('answer', [accessToken, refreshToken, expiresIn, refreshExpiresIn, scope], report);
  for (const [index, sub] of subCredentials.entries()) {
    checkPointers(`sub_credentials[${index}]`, [sub.accessToken, sub.refreshToken, sub.expiresIn, sub.scope], report);
  }
}

function checkIdentity(identity: IdentityDefinition, oauth: OAuthDefinition, kept: Set<string>, report: Report): void {
  const { url, accountId, email = [], emailVerified } = identity;
  const from = identity.from || (url ? 'request' : '');
  if (!from) report('from', 'is needed where there is no url');
  if (url && from !== 'request') report('url', 'is for a request alone');
  if (!url && from === 'request') report('url', 'is needed for a request');
  if (from === 'id_token' && !oauth.jwksUrl) report('from', 'cannot be id_token without jwks_url');
  const callback = oauth.keptCallbackParameters ?? [];
  if (from === 'callback' && !accountId.every((pointer) => callback.includes(pointer.slice(1)))) {
    report('account_id', 'is none of kept_callback_parameters');
  }
  if (url) checkKeptUrl('url', url, kept, oauth, report);
  checkHeaders('headers', identity.headers, report);
  checkPointers('account_id', accountId, report);
  checkPointers('email', [...email, emailVerified], report);
  if (emailVerified && email.length === 0) report('email_verified', 'is of no use without email');
}

function checkRevocation(part: RevocationDefinition, oauth: OAuthDefinition, kept: Set<string>, report: Report): void {
  checkKeptUrl('url', part.url, kept, oauth, report);
  const values = new Set([...kept, ...(oauth.keptCallbackParameters ?? [])]);
  for (const [name, value] of Object.entries(part.parameters ?? {})) {
    for (const used of namesIn(value)) {
      if (!values.has(used)) report(`parameters[${JSON.stringify(name)}]`, `holds {${used}}, which nothing fills in`);
    }
  }
}

/** Names of the callback are from the user’s browser: they may stand in path and query, and never say to whom a token is sent. */
function checkKeptUrl(field: string, url: string, kept: Set<string>, oauth: OAuthDefinition, report: Report): void {
  const callback = oauth.keptCallbackParameters ?? [];
  const host = url.replace(/^https?:\/\//, '').split(/[/?]/)[0]!;
  checkUrl(field, url, new Set([...kept, ...callback]), report);
  if (namesIn(host).some((name) => callback.includes(name))) report(field, 'takes its host from the callback');
}

function checkPointers(field: string, pointers: readonly (string | undefined)[], report: Report): void {
  for (const pointer of pointers) checkPointer(field, pointer, report);
}

function overlaps(one: string, other: string): boolean {
  return one === other || one.startsWith(`${other}/`) || other.startsWith(`${one}/`);
}
