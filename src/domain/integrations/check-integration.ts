import { fieldInvalid } from '../../base/error.ts';
import { parametersOf } from '../../providers/provider.ts';
import type { ProviderDefinition } from '../../providers/types.ts';

/** Fields with rules that the contract cannot say. */
export type CheckedFields = {
  settings?: Record<string, string> | undefined;
  returnUrls?: string[] | undefined;
};

/** Fails with FIELD_INVALID. */
export function checkIntegration(
  definition: ProviderDefinition,
  { settings, returnUrls }: CheckedFields,
  production: boolean,
): void {
  if (settings) parametersOf(definition, settings, 'settings');
  for (const { name, url } of definition.parameters ?? []) {
    if (url && production && settings?.[name]?.startsWith('http:'))
      throw fieldInvalid(`settings[${JSON.stringify(name)}]`, 'must be an https URL');
  }
  for (const [index, origin] of (returnUrls ?? []).entries()) {
    const field = `return_urls[${index}]`;
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) throw fieldInvalid(field, 'is not an exact origin');
    if (production && !origin.startsWith('https://')) throw fieldInvalid(field, 'must be an https origin');
  }
}
