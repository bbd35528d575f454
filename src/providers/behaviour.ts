import type { SecretText } from '../base/secret-text.ts';
import type { Egress } from '../egress/egress.ts';

/** Where a provider runs for a tenant, and how its superuser is told. */
export type ProviderInstance = {
  provider: string;
  /** Origin and path, without `/` at the end. */
  baseUrl: string;
  adminKey: SecretText;
  /** The integration that says so; null: the operator's own settings do. */
  integrationId: string | null;
  door: Pick<Egress, 'fetch' | 'stream'>;
  /** Whoever was told to wait tells the others of this process. */
  logins: { pausedMs(): number; pause(ms: number): void };
};

/** The same for who needs no key. */
export type ProviderPlace = Omit<ProviderInstance, 'adminKey'>;

/** Times in ms since the epoch; `expiresAt` 0: it says no end. */
export type AccountTokens = { accessToken: string; refreshToken: string; obtainedAt: number; expiresAt: number };

/** All that is known of an account, sealed together. Empty: not there yet. */
export type AccountState = {
  username: string;
  password: string;
  /** Its id at the provider. */
  remoteId: string;
  /** It may log in. */
  active: boolean;
  apiKey: string;
  tokens: AccountTokens | null;
};

/** Writes down what a step has achieved, before the next one is begun. Throws where somebody else has taken over. */
export type SaveAccount = (achieved: Partial<AccountState>) => Promise<void>;

/**
 * What code does at a provider beyond its entry in the catalog. Each part is optional. All fail with errors of the contract, and with nothing of
 * the provider's own words in them.
 */
export type ProviderBehaviour = {
  accounts?: {
    /**
     * Goes on from wherever the state is until the account can be used, saving each step. Begun anew after a crash at any of them. `newKey`: the key is
     * replaced, which stays in the state until there is another.
     */
    provision(
      instance: ProviderInstance,
      state: Readonly<AccountState>,
      save: SaveAccount,
      options: { newKey: boolean },
    ): Promise<void>;
    /** An account that somebody else made, as far as its name and password open it; null: they do not. */
    takeOver(
      instance: ProviderInstance,
      known: { username: string; password: string; apiKey: string },
    ): Promise<AccountState | null>;
    /** Ends the account's key there; the account stays. */
    endKey(instance: ProviderInstance, state: Readonly<AccountState>, save: SaveAccount): Promise<void>;
    /** Removes it there. One that is not there is removed. */
    remove(instance: ProviderInstance, state: Readonly<AccountState>): Promise<void>;
    /** How the key of an account is presented: name of the header. */
    keyHeader: string;
    /** The user-service has a record for accounts of this provider. */
    inUserService: boolean;
  };
  /** Renews the tokens of an account that is there, by what is cheapest. */
  renewTokens?(instance: ProviderInstance, state: Readonly<AccountState>, save: SaveAccount): Promise<void>;
  /** Whether the account's key and tokens work; those that are not there do. Throws where that cannot be found out now. */
  checkKey?(instance: ProviderInstance, state: Readonly<AccountState>): Promise<{ key: boolean; tokens: boolean }>;
  /** Whether the provider works: in words that give nothing away. Throws nothing. */
  checkHealth?(place: ProviderPlace, timeoutMs: number): Promise<HealthReport>;
};

export type HealthReport = { status: 'SERVING' | 'DEGRADED' | 'DOWN'; version: string; message: string };
