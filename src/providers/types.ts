import type { OAuthDefinition } from '../oauth/definition.ts';

/**
 * What Latchkey knows of a provider, as the contract's ProviderDefinition says it in JSON (proto/latchkey/v1/provider.proto has the meaning of each
 * field). Data alone: a tenant's own provider has the same shape and obeys the same rules. Absent fields have the contract's defaults.
 */
export type ProviderDefinition = {
  name: string;
  displayName: string;
  documentationUrl?: string;
  sources?: string[];
  /** Day, as `2026-11-20`. */
  verifiedAt?: string;
  unconfirmed?: string[];
  parameters?: ProviderParameter[];
  apiBaseUrl?: string;
  oauth?: OAuthDefinition;
  keys?: KeyDefinition[];
  apiHeaders?: Record<string, string>;
  rateLimitHeaders?: RateLimitHeader[];
};

export type RateLimitHeader = {
  name: string;
  format: 'seconds' | 'milliseconds' | 'duration' | 'epoch_seconds' | 'date';
  /** Only where this header holds 0. */
  remaining?: string;
};

export type ProviderParameter = {
  name: string;
  description?: string;
  defaultValue?: string;
  choices?: string[];
  /** RE2 syntax. */
  pattern?: string;
  url?: boolean;
};

export type KeyDefinition = {
  kind: 'api_key' | 'bearer' | 'basic' | 'aws' | 'smtp' | 'ftp';
  displayName: string;
  location?: 'header' | 'query';
  parameter?: string;
  patterns?: Record<string, string>;
  check?: CheckDefinition;
  headers?: Record<string, string>;
};

export type CheckDefinition = {
  url: string;
  method?: 'GET' | 'POST';
  outcomes?: Record<string, 'valid' | 'invalid' | 'restricted'>;
  failurePointer?: string;
  failureWhen?: 'present' | 'false';
  accountId?: string;
  email?: string;
  scopesHeader?: string;
};
