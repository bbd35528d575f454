import type { ProviderBehaviour } from './behaviour.ts';
import { langflowBehaviour } from './langflow/behaviour.ts';

/** Providers with behaviour of their own, by name. */
const behaviours: Readonly<Record<string, ProviderBehaviour>> = {
  langflow: langflowBehaviour,
};

/** What code does at a provider; empty: nothing. */
export function behaviourOf(provider: string): ProviderBehaviour {
  return Object.hasOwn(behaviours, provider) ? behaviours[provider]! : {};
}

/** The same in the contract's words. */
export function capabilitiesOf(provider: string): string[] {
  const { accounts, renewTokens, checkHealth, checkKey } = behaviourOf(provider);
  const parts = { accounts, tokens: renewTokens, health: checkHealth, key_check: checkKey };
  return Object.entries(parts).flatMap(([name, part]) => (part ? [name] : []));
}
