import { isDeepStrictEqual } from 'node:util';
import { LatchkeyError } from '../../base/error.ts';
import { namesIn } from '../../providers/template.ts';
import type { ProviderDefinition } from '../../providers/types.ts';
import type { Permission } from '../access/permissions.ts';
import type { Principal } from '../call.ts';
import { urlsOf } from './check-provider.ts';

const NEEDED: readonly Permission[] = ['integration_credential:read', 'credential:read'];

/** Who may not read client secrets and tokens may not have them sent to a host of their choice either. Fails with PERMISSION_MISSING. */
export function refuseUnlessMayLead({ permissions }: Principal): void {
  const permission = NEEDED.find((needed) => !permissions.has(needed));
  if (permission) throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission } });
}

/**
 * Whether under another definition secrets of integrations and connections would go, or could be lured, to where they did not go before. The token endpoint gets
 * all of them in any case.
 */
export function leadsElsewhere(before: ProviderDefinition, after: ProviderDefinition): boolean {
  const known = originsOf(before);
  const origins = originsOf(after);
  const tokens = known.get('definition.oauth.token_url');
  if ([...origins].some(([field, origin]) => origin !== known.get(field) && origin !== tokens)) return true;
  const filledIn = [...origins.values()].some((origin) => namesIn(origin).length > 0);
  return (
    (filledIn || Boolean(after.oauth?.answer?.baseUrlFrom)) && !isDeepStrictEqual(valuesIn(before), valuesIn(after))
  );
}

/** Whether other settings would have them go to another host. */
export function settingsLeadElsewhere(
  definition: ProviderDefinition,
  before: Record<string, string>,
  after: Record<string, string>,
): boolean {
  const names = new Set([...originsOf(definition).values()].flatMap(namesIn));
  return [...names].some((name) => (before[name] ?? '') !== (after[name] ?? ''));
}

/** Scheme, host and port of a definition's URLs, with the names that stand in them, by field. Checks of keys stay on the connection's own hosts. */
function originsOf(definition: ProviderDefinition): Map<string, string> {
  const urls = urlsOf(definition).filter(([field]) => !field.startsWith('definition.keys'));
  const lower = (origin: string) =>
    origin.replace(/\{[^}]*\}|[^{]+/g, (part) => (part.startsWith('{') ? part : part.toLowerCase()));
  return new Map(urls.map(([field, url]) => [field, lower(/^(https?:\/\/)?[^/?#]*/.exec(url)![0])]));
}

/** All that says what is filled in for names, or taken for the base URL of a connection. */
function valuesIn({ parameters = [], oauth }: ProviderDefinition): unknown {
  const { kept = {}, baseUrlFrom = '' } = oauth?.answer ?? {};
  const given = parameters.map(({ name, defaultValue = '', choices = [], pattern = '', url = false }) => {
    return { name, defaultValue, choices, pattern, url };
  });
  const ofCallback = oauth?.keptCallbackParameters ?? [];
  return { given, kept, baseUrlFrom, ofCallback, ofAccount: oauth?.identity?.kept ?? {} };
}
