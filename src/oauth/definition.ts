/**
 * How a provider speaks OAuth 2.0: data alone, in the shape of the contract's OAuthDefinition (proto/latchkey/v1/provider.proto has the meaning of
 * each field). Absent fields have the contract's defaults. URLs have their parameters filled in before a step uses them.
 */
export type OAuthDefinition = {
  issuer?: string;
  authorizationUrl?: string;
  tokenUrl: string;
  deviceAuthorizationUrl?: string;
  pushedAuthorizationRequestUrl?: string;
  jwksUrl?: string;
  sendsIss?: boolean;
  clientCredentials?: boolean;
  scopes?: ScopeDefinition;
  authorizationParameters?: Record<string, string>;
  pkce?: 'S256' | 'none';
  clientAuthentication?: ClientAuthentication;
  bodyFormat?: 'form' | 'json';
  tokenHeaders?: Record<string, string>;
  answer?: TokenAnswerDefinition;
  errors?: ErrorDefinition;
  rotation?: RotationDefinition;
  lifetimes?: LifetimeDefinition;
  revocation?: RevocationDefinition;
  identity?: IdentityDefinition;
  keptCallbackParameters?: string[];
  subCredentials?: SubCredentialDefinition[];
};

/** As RFC 7591 names them. */
export type ClientAuthentication = 'client_secret_post' | 'client_secret_basic' | 'client_secret_as_username' | 'none';

export type ScopeDefinition = {
  separator?: ' ' | ',';
  defaultScopes?: string[];
  always?: string[];
  neverGranted?: string[];
  known?: Record<string, string>;
  grantedSeparator?: ' ' | ',' | 'any';
  parameter?: string;
};

/** JSON pointers (RFC 6901). */
export type TokenAnswerDefinition = {
  accessToken?: string;
  refreshToken?: string;
  expiresIn?: string;
  refreshExpiresIn?: string;
  scope?: string;
  bearerTypes?: string[];
  kept?: Record<string, string>;
  baseUrlFrom?: string;
};

export type ErrorDefinition = {
  failurePointer?: string;
  failureWhen?: 'present' | 'false';
  codePointer?: string;
  permanent?: string[];
  transient?: string[];
  misconfigured?: string[];
};

export type RotationDefinition = {
  class?: 'none' | 'soft' | 'strict';
  reuseGraceS?: number;
  killsOldAccessToken?: boolean;
};

export type LifetimeDefinition = {
  accessTokenS?: number;
  refreshTokenS?: number;
  refreshTokenIdleS?: number;
  grantS?: number;
  introspectionUrl?: string;
};

export type RevocationDefinition = {
  url: string;
  method?: 'POST' | 'DELETE' | 'GET';
  authentication?: 'client_secret_post' | 'client_secret_basic' | 'bearer' | 'none';
  bodyFormat?: 'form' | 'json' | 'none';
  token?: 'refresh_token' | 'access_token' | 'none';
  tokenParameter?: string;
  parameters?: Record<string, string>;
  headers?: Record<string, string>;
  failurePointer?: string;
  failureWhen?: 'present' | 'false';
};

export type IdentityDefinition = {
  from?: 'token_answer' | 'id_token' | 'callback' | 'request';
  url?: string;
  method?: 'GET' | 'POST';
  headers?: Record<string, string>;
  accountId: string[];
  email?: string[];
  emailVerified?: string;
  kept?: Record<string, string>;
  failurePointer?: string;
  failureWhen?: 'present' | 'false';
};

export type SubCredentialDefinition = {
  name: string;
  accessToken: string;
  refreshToken?: string;
  expiresIn?: string;
  scope?: string;
  scopeParameter?: string;
  scopePrefix?: string;
};
