import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Credential,
  CredentialKind,
  CredentialSchema,
  ApiKeyCredential_Location as Location,
  type SecretValue,
  TransportSecurity,
} from '../../gen/latchkey/v1/credential_pb.ts';
import { SecretText } from '../base/secret-text.ts';
import type { ReadyCredential } from '../domain/call.ts';
import type { CredentialInput, SecretSource } from '../domain/connections/store-credential.ts';
import { furtherAccessTokenNames } from '../domain/tokens/token-secrets.ts';
import type { CredentialKind as StoredKind } from '../model/connection.ts';
import { fromTimestamp, toTimestamp } from './time.ts';

type Kinds = Extract<Credential['kind'], { case: string }>;
type KindOf<Case extends Kinds['case']> = Extract<Kinds, { case: Case }>['value'];
type Init = MessageInitShape<typeof CredentialSchema>;

/** A credential of the contract as values. The contract's rules have seen to it that a kind and each required secret is there. */
export function credentialInput({ kind }: Credential): CredentialInput {
  switch (kind.case) {
    case 'apiKey':
      return apiKeyInput(kind.value);
    case 'bearer':
      return {
        kind: 'bearer',
        fields: {},
        secrets: { token: source(kind.value.token) },
        expireTime: fromTimestamp(kind.value.expireTime),
      };
    case 'basic':
      return {
        kind: 'basic',
        fields: { username: kind.value.username },
        secrets: { password: source(kind.value.password) },
        expireTime: null,
      };
    case 'aws':
      return awsInput(kind.value);
    case 'smtp': {
      const { host, security, from, username, password } = kind.value;
      const port = kind.value.port || (security === TransportSecurity.TLS ? 465 : 587);
      const fields = { host, port, security: securityName(security), from, username };
      return { kind: 'smtp', fields, secrets: { password: source(password) }, expireTime: null };
    }
    case 'ftp': {
      const { host, security, path, username, password } = kind.value;
      const port = kind.value.port || (security === TransportSecurity.TLS ? 990 : 21);
      const fields = { host, port, security: securityName(security), path, username };
      return { kind: 'ftp', fields, secrets: { password: source(password) }, expireTime: null };
    }
    case 'custom':
      return { kind: 'custom', fields: {}, secrets: mapValues(kind.value.fields, source), expireTime: null };
    case 'oauth2':
      return oauth2Input(kind.value);
    case 'clientCredentials':
      return clientCredentialsInput(kind.value);
    case 'login':
      return loginInput(kind.value);
    default:
      throw new Error('a credential without kind passed validation');
  }
}

function apiKeyInput({ key, location, name, prefix, expireTime }: KindOf<'apiKey'>): CredentialInput {
  const query = location === Location.QUERY;
  const fields = { location: query ? 'query' : 'header', name: name || (query ? 'api_key' : 'X-API-Key'), prefix };
  return { kind: 'api_key', fields, secrets: { key: source(key) }, expireTime: fromTimestamp(expireTime) };
}

function awsInput({
  accessKeyId,
  secretAccessKey,
  sessionToken,
  region,
  bucket,
  endpoint,
  expireTime,
}: KindOf<'aws'>): CredentialInput {
  const secrets = {
    secret_access_key: source(secretAccessKey),
    ...(sessionToken ? { session_token: source(sessionToken) } : {}),
  };
  const fields = { access_key_id: accessKeyId, region, bucket, endpoint };
  return { kind: 'aws', fields, secrets, expireTime: fromTimestamp(expireTime) };
}

function oauth2Input({ accessToken, refreshToken, scopes, expireTime }: KindOf<'oauth2'>): CredentialInput {
  const secrets = {
    access_token: source(accessToken),
    ...(refreshToken ? { refresh_token: source(refreshToken) } : {}),
  };
  const fields = { scopes, refreshable: refreshToken !== undefined };
  return { kind: 'oauth2', fields, secrets, scopes, expireTime: fromTimestamp(expireTime) };
}

function clientCredentialsInput(value: KindOf<'clientCredentials'>): CredentialInput {
  const { tokenUrl, clientId, clientSecret, scopes, audience, resource, clientAuthentication } = value;
  const fields = {
    ...{ token_url: tokenUrl, client_id: clientId, scopes, audience, resource },
    client_authentication: clientAuthentication || 'client_secret_post',
  };
  const secrets: Record<string, SecretSource> = clientSecret ? { client_secret: source(clientSecret) } : {};
  return { kind: 'client_credentials', fields, secrets, scopes, expireTime: null };
}

function loginInput(value: KindOf<'login'>): CredentialInput {
  const { url, bodyTemplate, bodyFormat, headers, tokenPointer, expiresInPointer, lifetimeS, header, prefix } = value;
  const fields = {
    ...{ url, body_template: bodyTemplate, body_format: bodyFormat || 'json', header, prefix },
    token_pointer: tokenPointer || '/access_token',
    expires_in_pointer: expiresInPointer || '/expires_in',
    lifetime_s: lifetimeS ?? 3_600,
  };
  // Headers are as likely to hold a secret as the body.
  const sealed = Object.entries(headers).map(([name, text]) => [`header ${name}`, { value: new SecretText(text) }]);
  const secrets = { ...mapValues(value.fields, source), ...Object.fromEntries(sealed) };
  return { kind: 'login', fields, secrets, expireTime: null };
}

/** A credential with its secrets in place, as the contract says it. */
export function credentialToProto(credential: ReadyCredential): Credential {
  return create(CredentialSchema, { kind: kindToProto(credential) });
}

function kindToProto({ kind, fields, secrets, expireTime }: ReadyCredential): NonNullable<Init['kind']> {
  const text = (name: string) => String(fields[name] ?? '');
  const secret = (name: string) => ({ source: { case: 'value' as const, value: secrets[name] ?? '' } });
  const expires = toTimestamp(expireTime);
  const server = {
    host: text('host'),
    port: Number(fields.port),
    security: securityOf(text('security')),
    username: text('username'),
  };
  switch (kind) {
    case 'api_key': {
      const location = fields.location === 'query' ? Location.QUERY : Location.HEADER;
      return {
        case: 'apiKey',
        value: { key: secret('key'), location, name: text('name'), prefix: text('prefix'), expireTime: expires },
      };
    }
    case 'bearer':
      return { case: 'bearer', value: { token: secret('token'), expireTime: expires } };
    case 'basic':
      return { case: 'basic', value: { username: text('username'), password: secret('password') } };
    case 'aws': {
      const sessionToken = secrets.session_token === undefined ? undefined : secret('session_token');
      const where = { region: text('region'), bucket: text('bucket'), endpoint: text('endpoint') };
      return {
        case: 'aws',
        value: {
          accessKeyId: text('access_key_id'),
          secretAccessKey: secret('secret_access_key'),
          sessionToken,
          ...where,
          expireTime: expires,
        },
      };
    }
    case 'smtp':
      return { case: 'smtp', value: { ...server, from: text('from'), password: secret('password') } };
    case 'ftp':
      return { case: 'ftp', value: { ...server, path: text('path'), password: secret('password') } };
    case 'custom':
      return { case: 'custom', value: { fields: mapValues(secrets, (_, name) => secret(name)) } };
    case 'oauth2': {
      const scopes = (fields.scopes as string[] | undefined) ?? [];
      // Refresh tokens are not handed out.
      const furtherTokens = mapValues(furtherAccessTokenNames(secrets), secret);
      return {
        case: 'oauth2',
        value: { accessToken: secret('access_token'), scopes, expireTime: expires, furtherTokens },
      };
    }
    case 'client_credentials':
    case 'login':
      // Handed out as what was fetched for them.
      throw new Error(`${kind} is not handed out`);
  }
}

const KINDS: Record<StoredKind, CredentialKind> = {
  api_key: CredentialKind.API_KEY,
  bearer: CredentialKind.BEARER,
  basic: CredentialKind.BASIC,
  aws: CredentialKind.AWS,
  smtp: CredentialKind.SMTP,
  ftp: CredentialKind.FTP,
  custom: CredentialKind.CUSTOM,
  oauth2: CredentialKind.OAUTH2,
  client_credentials: CredentialKind.CLIENT_CREDENTIALS,
  login: CredentialKind.LOGIN,
};

export function kindNumber(kind: StoredKind): CredentialKind {
  return KINDS[kind];
}

/** Undefined for UNSPECIFIED. */
export function kindName(kind: CredentialKind): StoredKind | undefined {
  return (Object.keys(KINDS) as StoredKind[]).find((name) => KINDS[name] === kind);
}

function source(value: SecretValue | undefined): SecretSource {
  if (value?.source.case === 'value') return { value: new SecretText(value.source.value) };
  if (value?.source.case === 'secretRef') return { secretRef: value.source.value };
  throw new Error('a secret without source passed validation');
}

const SECURITIES = {
  none: TransportSecurity.NONE,
  starttls: TransportSecurity.STARTTLS,
  tls: TransportSecurity.TLS,
} as const;

function securityName(security: TransportSecurity): string {
  if (security === TransportSecurity.NONE) return 'none';
  return security === TransportSecurity.TLS ? 'tls' : 'starttls';
}

function securityOf(name: string): TransportSecurity {
  return SECURITIES[name as keyof typeof SECURITIES] ?? TransportSecurity.UNSPECIFIED;
}

function mapValues<A, B>(record: Record<string, A>, map: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value, key)]));
}
