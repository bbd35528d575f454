import type { JsonObject } from '../../model/json.ts';
import { DEFAULT_CHECKS, type NewConnection } from './create-connection.ts';
import { LegacyDocument, type Remark } from './legacy-document.ts';
import type { CredentialInput, SecretSource } from './store-credential.ts';

/** What a document says, as a connection here. */
export type LegacyConnection = {
  fields: Omit<NewConnection, 'credential'>;
  /** Null: a person must grant access first, or the document is wrong. */
  credential: CredentialInput | null;
  /** Of a grant: the token endpoint, which tells the provider; empty: it is none. */
  tokenUrl: string;
  /** Of a grant: what to ask for. */
  scopes: string[];
  faults: Remark[];
  notes: Remark[];
};

/** Twilio's token endpoint as old documents have it, and as it is (https://www.twilio.com/docs/iam/oauth-apps). */
const OLD_TWILIO_TOKEN_URL = /^https:\/\/api\.twilio\.com\/(?:[^?#]*\/)?oauth2?\/token$/i;
const TWILIO_TOKEN_URL = 'https://oauth.twilio.com/v2/token';

const URL_FORM = /^(?=.{1,500}$)https?:\/\/[^\s@]+$/;
const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/;
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/;
/** No control characters. */
const LINE = /^\P{Cc}+$/u;
const LAST_MS = 253_402_300_799_999;

/** Reads a document of either shape, as the contract's ImportConnectionsRequest describes them. Whether names are free and secrets exist is not looked at. */
export function readLegacyConnection(json: JsonObject, projectId: string | null): LegacyConnection {
  const document = new LegacyDocument(json);
  const fields = fieldsOf(document, projectId);
  const type = document.value('type') ?? document.value('authType');
  const grant = type === 'oauth2_3leg';
  const tokenUrl = grant ? tokenEndpoint(document) : '';
  const scopes = grant ? scopeList(document, 'authConfig.scope', document.auth.scope) : [];
  const credential = grant ? grantedTokens(document, scopes) : credentialOf(document, type);
  return { fields, credential, tokenUrl, scopes, faults: document.faults, notes: document.notes };
}

function fieldsOf(document: LegacyDocument, projectId: string | null): Omit<NewConnection, 'credential'> {
  const name = document.text('name', LINE, { required: true });
  if (name.length > 255) document.fault('name', 'is longer than 255 characters');
  const id = document.value('id');
  return {
    ...{ name, displayName: '', provider: document.text('provider', /^[a-z0-9][a-z0-9_-]{0,99}$/) },
    projectId: document.text('projectId', /^\P{Cc}{1,100}$/u) || projectId,
    baseUrl: document.text('baseUrl', URL_FORM),
    defaultHeaders: headersOf(document),
    timeoutMs: document.number('timeoutMs', 8_000, 100, 60_000),
    retries: document.number('retries', 2, 0, 10),
    backoffMs: document.number('backoffMs', 250, 0, 5_000),
    enabled: document.flag('enabled', true),
    // To find again what it was.
    metadata: typeof id === 'string' ? { legacy_id: id } : {},
    ...{ ownerUserId: null, integrationId: null, isDefault: false, webhookSignatureSecret: null },
    ...{ allowedHosts: [], labels: {}, config: {}, ...DEFAULT_CHECKS },
    ...{ providerAccountId: '', providerAccountEmail: '', providerAccountMetadata: {} },
  };
}

function headersOf(document: LegacyDocument): Record<string, string> {
  const headers = document.object('defaultHeaders');
  for (const [name, value] of Object.entries(headers)) {
    const good = HEADER_NAME.test(name) && typeof value === 'string' && /^[\x20-\x7e\t]{0,4096}$/.test(value);
    if (!good) document.fault(`defaultHeaders.${name.slice(0, 100)}`, 'is no header');
  }
  if (Object.keys(headers).length > 50) document.fault('defaultHeaders', 'has more than 50 headers');
  return headers as Record<string, string>;
}

function credentialOf(document: LegacyDocument, type: unknown): CredentialInput | null {
  switch (type) {
    case 'api_key':
      return apiKey(document);
    case 'bearer':
      return credential('bearer', {}, { token: document.secret('tokenRef') });
    case 'basic_auth': {
      const username = document.open('username', /^(?!.*:)\P{Cc}{1,255}$/u);
      return credential('basic', { username }, { password: document.secret('passwordRef') });
    }
    case 'none':
      document.note('authType', 'has no credential: it becomes one of the kind custom without fields');
      return credential('custom', {}, {});
    case 'oauth2':
    case 'oauth2_client_credentials':
      return clientCredentials(document);
    default:
      document.fault('type', 'is none of the types of the Integrations Hub');
      return null;
  }
}

function apiKey(document: LegacyDocument): CredentialInput {
  const { apiKeyLocation: location = 'header', apiKeyName } = document.auth;
  if (location !== 'header' && location !== 'query')
    document.fault('authConfig.apiKeyLocation', 'is neither header nor query');
  const name = apiKeyName ?? (location === 'query' ? 'api_key' : 'X-API-Key');
  if (typeof name !== 'string' || !HEADER_NAME.test(name))
    document.fault('authConfig.apiKeyName', 'is no name of a header or query parameter');
  return credential('api_key', { location, name, prefix: '' }, { key: document.secret('apiKeyRef') });
}

function clientCredentials(document: LegacyDocument): CredentialInput {
  const scopes = scopeList(document, 'authConfig.scope', document.auth.scope);
  const fields = {
    token_url: tokenEndpoint(document),
    client_id: document.open('clientId', /^[\x20-\x7e]{1,500}$/),
    ...{ scopes, audience: '', resource: '', client_authentication: 'client_secret_post' },
  };
  const secrets = { client_secret: document.secret('clientSecretRef') };
  return { ...credential('client_credentials', fields, secrets), scopes };
}

/** Only tokens that are said to be plain are taken: what another system encrypted cannot be told from a token. */
function grantedTokens(document: LegacyDocument, requested: string[]): CredentialInput | null {
  const state = document.object('oauthState');
  const { encrypted, accessToken, refreshToken = null, expiresAt = null, scope } = state;
  if (encrypted !== false) {
    if (Object.keys(state).length > 0)
      document.note('oauthState', 'holds tokens that the other system encrypted; they were left out');
    document.note('type', 'a person must grant access: call StartAuthorization with the id of the connection');
    return null;
  }
  const inTime = expiresAt === null || (typeof expiresAt === 'number' && expiresAt >= 0 && expiresAt <= LAST_MS);
  if (!inTime) document.fault('oauthState.expiresAt', 'is no time in ms since the epoch');
  const refreshable = refreshToken !== null;
  const scopes = scope === undefined ? requested : scopeList(document, 'oauthState.scope', scope);
  const secrets = {
    access_token: document.direct('oauthState.accessToken', accessToken),
    ...(refreshable ? { refresh_token: document.direct('oauthState.refreshToken', refreshToken) } : {}),
  };
  const expireTime = inTime && expiresAt !== null ? new Date(expiresAt) : null;
  return { ...credential('oauth2', { scopes, refreshable }, secrets), scopes, expireTime };
}

function tokenEndpoint(document: LegacyDocument): string {
  const { tokenUrl: url } = document.auth;
  if (typeof url !== 'string' || !URL_FORM.test(url) || !URL.canParse(url)) {
    document.fault('authConfig.tokenUrl', 'is no http or https URL');
    return '';
  }
  if (!OLD_TWILIO_TOKEN_URL.test(url)) return url;
  document.note('authConfig.tokenUrl', `is not Twilio's; ${TWILIO_TOKEN_URL} was taken`);
  return TWILIO_TOKEN_URL;
}

/** A list, or a text with blanks between them. */
function scopeList(document: LegacyDocument, field: string, given: unknown): string[] {
  const scopes = typeof given === 'string' ? given.split(/\s+/).filter(Boolean) : (given ?? []);
  const good = Array.isArray(scopes) && scopes.length <= 100;
  if (good && scopes.every((scope) => typeof scope === 'string' && SCOPE.test(scope))) return scopes;
  document.fault(field, 'is no list of at most 100 scopes');
  return [];
}

/** A secret that is missing has been said to be. */
function credential(
  kind: CredentialInput['kind'],
  fields: JsonObject,
  secrets: Record<string, SecretSource | null>,
): CredentialInput {
  const given = Object.entries(secrets).flatMap(([name, source]) => (source ? [[name, source] as const] : []));
  return { kind, fields, secrets: Object.fromEntries(given), expireTime: null };
}
