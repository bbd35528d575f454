import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
  type RemoteJWKSet,
} from 'jose';
import { LatchkeyError } from '../base/error.ts';
import type { Egress } from '../egress/egress.ts';

const TIMEOUT_MS = 5_000;
const COOL_DOWN_MS = 30_000;
/** How long the last good keys are used while the provider does not answer. */
const LAST_GOOD_MS = 3_600_000;
const KEYS_FRESH_MS = 600_000;
const CLOCK_TOLERANCE_S = 30;
const ALGORITHMS = ['RS256', 'ES256'];
/** A token that no key of the set signed, as opposed to a set that cannot be had. */
const NOT_OUR_KEY = [errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, errors.JOSENotSupported];
/** Least time between two tries while no keys are known at all. */
const FIRST_KEYS_RETRY_MS = 2_000;
const TYPES = new Set(['jwt', 'at+jwt', 'application/at+jwt']);

type Metadata = { jwksUri: string; userinfoEndpoint: string | null };

/**
 * The OpenID provider whose access tokens callers present. Found by OpenID Connect Discovery 1.0; nothing in a token's header makes us fetch
 * anything but the provider's own keys, and those at most once in 30 s.
 */
export class IdentityProvider {
  readonly #issuer: string;
  readonly #audience: string;
  readonly #egress: Egress;
  #metadata: Promise<Metadata> | null = null;
  #discoveredAt = Number.NEGATIVE_INFINITY;
  #remote: RemoteJWKSet | null = null;
  #triedAt = Number.NEGATIVE_INFINITY;
  #lastGood: { keys: ReturnType<typeof createLocalJWKSet>; at: number } | null = null;

  /** @param egress a door that is open to the issuer's host */
  constructor(issuer: string, audience: string, egress: Egress) {
    this.#issuer = issuer;
    this.#audience = audience;
    this.#egress = egress;
  }

  /**
   * The claims of a valid access token (RFC 9068, RFC 7519).
   * Fails with CREDENTIALS_INVALID, or IDENTITY_PROVIDER_UNAVAILABLE where the keys cannot be had.
   */
  async verify(token: string): Promise<JWTPayload> {
    try {
      const { payload, protectedHeader } = await jwtVerify(token, this.#getKey, {
        issuer: this.#issuer,
        audience: this.#audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_S,
        requiredClaims: ['exp', 'sub'],
      });
      if (protectedHeader.typ !== undefined && !TYPES.has(protectedHeader.typ.toLowerCase()))
        throw new LatchkeyError('CREDENTIALS_INVALID');
      return payload;
    } catch (error) {
      if (error instanceof LatchkeyError) throw error;
      throw new LatchkeyError('CREDENTIALS_INVALID', { cause: error });
    }
  }

  /** The claims of the userinfo endpoint (OpenID Connect Core 1.0, section 5.3) for a verified token. */
  async userinfo(token: string): Promise<Record<string, unknown>> {
    try {
      const { userinfoEndpoint } = await this.#discover();
      if (!userinfoEndpoint) return {};
      return await getJson(this.#egress, userinfoEndpoint, { authorization: `Bearer ${token}` });
    } catch (error) {
      throw unavailable(error);
    }
  }

  readonly #getKey: JWTVerifyGetKey = async (header, token) => {
    const remote = await this.#keys();
    try {
      const key = await remote(header, token);
      this.#remember(remote);
      return key;
    } catch (error) {
      if (NOT_OUR_KEY.some((type) => error instanceof type)) throw error;
      return this.#lastGoodKey(header, token, error);
    }
  };

  #remember(remote: RemoteJWKSet): void {
    const now = performance.now();
    if (this.#lastGood && now - this.#lastGood.at < COOL_DOWN_MS) return;
    const jwks = remote.fresh && remote.jwks();
    if (jwks) this.#lastGood = { keys: createLocalJWKSet(jwks), at: now };
  }

  async #lastGoodKey(...[header, token, cause]: [...Parameters<JWTVerifyGetKey>, unknown]) {
    const known = this.#lastGood;
    if (!known || performance.now() - known.at > LAST_GOOD_MS) throw unavailable(cause);
    return known.keys(header, token);
  }

  async #keys() {
    if (this.#remote) return this.#remote;
    const { jwksUri } = await this.#discover().catch((error) => {
      throw unavailable(error);
    });
    this.#remote ??= createRemoteJWKSet(new URL(jwksUri), {
      timeoutDuration: TIMEOUT_MS,
      cooldownDuration: COOL_DOWN_MS,
      cacheMaxAge: KEYS_FRESH_MS,
      [customFetch]: (url, options) => this.#fetchKeys(url, options),
    });
    return this.#remote;
  }

  /** jose counts its cool-down from the last success alone; here a failure counts too, so that a flood of tokens fetches nothing. */
  async #fetchKeys(url: string, options: { headers: Headers; signal: AbortSignal }): Promise<Response> {
    const now = performance.now();
    const pauseMs = this.#lastGood ? COOL_DOWN_MS : FIRST_KEYS_RETRY_MS;
    if (now - this.#triedAt < pauseMs) throw new Error('the keys were asked for a moment ago');
    this.#triedAt = now;
    return this.#egress.fetch(url, options);
  }

  #discover(): Promise<Metadata> {
    const now = performance.now();
    if (this.#metadata) return this.#metadata;
    if (now - this.#discoveredAt < 1_000) return Promise.reject(new Error('discovery failed a moment ago'));
    this.#discoveredAt = now;
    this.#metadata = discover(this.#egress, this.#issuer).catch((error) => {
      this.#metadata = null;
      throw error;
    });
    return this.#metadata;
  }
}

async function discover(egress: Egress, issuer: string): Promise<Metadata> {
  const document = await getJson(egress, `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, {});
  if (document.issuer !== issuer) throw new Error('the discovery document names another issuer');
  if (typeof document.jwks_uri !== 'string') throw new Error('the discovery document has no jwks_uri');
  const userinfo = document.userinfo_endpoint;
  return { jwksUri: document.jwks_uri, userinfoEndpoint: typeof userinfo === 'string' ? userinfo : null };
}

async function getJson(egress: Egress, url: string, headers: Record<string, string>): Promise<Record<string, unknown>> {
  const response = await egress.fetch(url, {
    headers: { accept: 'application/json', ...headers },
    timeoutMs: TIMEOUT_MS,
  });
  if (!response.ok) throw new Error(`the identity provider answered ${response.status}`);
  const value: unknown = await response.json();
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('the identity provider answered no JSON object');
  return value as Record<string, unknown>;
}

function unavailable(cause: unknown): LatchkeyError {
  return new LatchkeyError('IDENTITY_PROVIDER_UNAVAILABLE', { retryAfterMs: 2_000, cause });
}
