import { type FieldFault, LatchkeyError } from '../base/error.ts';
import { checkOAuth } from './check-oauth.ts';
import { checkFailure, checkHeaders, checkPointer, checkUrl, type Report } from './check-parts.ts';
import { isPattern } from './pattern.ts';
import { parameterFault } from './provider.ts';
import type { KeyDefinition, ProviderDefinition, ProviderParameter } from './types.ts';

/** Secret and open text fields of each kind of credential; open ones may stand in the URL of a check. */
const FIELDS: Record<KeyDefinition['kind'], { secret: string[]; open: string[] }> = {
  api_key: { secret: ['key'], open: [] },
  bearer: { secret: ['token'], open: [] },
  basic: { secret: ['password'], open: ['username'] },
  aws: { secret: ['secret_access_key', 'session_token'], open: ['region', 'bucket', 'endpoint'] },
  smtp: { secret: ['password'], open: ['host', 'username'] },
  ftp: { secret: ['password'], open: ['host', 'username'] },
};
/** The rules of a definition beyond those of the contract. Fails with FIELD_INVALID, naming every field that breaks one, below `field`. */
export function checkDefinition(definition: ProviderDefinition, field: string): void {
  const fields: FieldFault[] = [];
  const report: Report = (path, description) => fields.push({ field: field ? `${field}.${path}` : path, description });
  const { parameters = [], oauth, keys = [] } = definition;

  if (!oauth && keys.length === 0) report('oauth', 'is needed where there are no keys');
  if (definition.verifiedAt && !isDay(definition.verifiedAt)) report('verified_at', 'is no day');
  const names = checkParameters(parameters, report);
  if (definition.apiBaseUrl) checkUrl('api_base_url', definition.apiBaseUrl, names, report);
  checkHeaders('api_headers', definition.apiHeaders, report);
  if (oauth) checkOAuth(oauth, names, (path, description) => report(`oauth.${path}`, description));
  for (const [index, key] of keys.entries()) {
    checkKeyDefinition(key, names, (path, description) => report(`keys[${index}].${path}`, description));
  }
  if (fields.length > 0) throw new LatchkeyError('FIELD_INVALID', { fields });
}

function checkParameters(parameters: ProviderParameter[], report: Report): ReadonlySet<string> {
  const names = new Set<string>();
  for (const [index, parameter] of parameters.entries()) {
    const at = `parameters[${index}]`;
    const { name, pattern, choices = [], defaultValue, url } = parameter;
    if (names.has(name)) report(`${at}.name`, 'is there twice');
    if (name === 'client_id') report(`${at}.name`, 'is the integration’s own');
    names.add(name);
    if (url && (pattern || choices.length > 0)) report(`${at}.url`, 'goes without pattern and choices');
    if (pattern && !isPattern(pattern)) {
      report(`${at}.pattern`, 'is no RE2 pattern');
      continue;
    }
    for (const [choice, value] of choices.entries()) {
      const fault = parameterFault(parameter, value);
      if (fault) report(`${at}.choices[${choice}]`, fault);
    }
    const fault = defaultValue && parameterFault(parameter, defaultValue);
    if (fault) report(`${at}.default_value`, fault);
  }
  return names;
}

function checkKeyDefinition(key: KeyDefinition, names: ReadonlySet<string>, report: Report): void {
  const { secret, open } = FIELDS[key.kind];
  for (const [name, pattern] of Object.entries(key.patterns ?? {})) {
    const at = `patterns[${JSON.stringify(name)}]`;
    if (!secret.includes(name)) report(at, `is no secret of ${key.kind}`);
    if (!isPattern(pattern)) report(at, 'is no RE2 pattern');
  }
  if (key.kind !== 'api_key' && (key.location || key.parameter)) report('location', 'is for an api_key alone');
  checkHeaders('headers', key.headers, report);
  if (!key.check) return;
  const inCheck: Report = (path, description) => report(`check.${path}`, description);
  checkUrl('url', key.check.url, new Set([...names, ...open]), inCheck);
  checkFailure(key.check, inCheck);
  checkPointer('account_id', key.check.accountId, inCheck);
  checkPointer('email', key.check.email, inCheck);
}

function isDay(text: string): boolean {
  const time = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(`${text}T`);
}
