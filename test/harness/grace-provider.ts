import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ProviderDefinitionSchema } from '../../gen/latchkey/v1/provider_pb.ts';
import { CLIENT } from './oauth-server.ts';

export type Pair = { accessToken: string; refreshToken: string };

/** One grant and all tokens that came of it. */
export type Family = {
  id: number;
  first: Pair;
  /** A token was used again outside its grace, or the grant was revoked: none of its tokens works any more. */
  revoked: boolean;
};

/** A request at the token endpoint. */
export type Hit = { family: Family; token: string; at: number; ok: boolean };

/** What becomes of one request of a family at the token endpoint; see `GraceProvider.next`. */
export type Script = {
  /** Wait until it is released: before the request is looked at, or once its answer is there. */
  hold?: 'before' | 'after';
  /** Cut the connection: before the request is looked at, or in place of the answer. */
  drop?: 'before' | 'after';
  /** Answer this status, and do nothing. */
  status?: number;
  /** With `status`. */
  retryAfterS?: number;
};

type Scripted = Script & { arrived: () => void; released: Promise<void> };

/** A scripted request: whether it has come, and what lets it go on. */
export type Held = { arrived: Promise<void>; release(): void };

type Token = { family: Family; usedAt: number | null; next: Pair | null };

type Options = {
  /** For how long a refresh token that was used is taken again. */
  graceMs: number;
  /** What it gets then: the pair that it got before, or another one of the family. */
  again?: 'same_pair' | 'new_pair';
  /** What it leads to after that. */
  reuse?: 'revoke_family' | 'refuse';
  expiresInS?: number;
};

/** A token endpoint on loopback that rotates refresh tokens, takes a used one for a while, and ends the whole grant when one comes after that. */
export class GraceProvider {
  url = '';
  readonly hits: Hit[] = [];
  /** Tokens that came to the revocation endpoint. */
  readonly revoked: string[] = [];
  /** Each answer of the token endpoint takes so long. */
  delayMs = 0;
  /** The token endpoint answers 503, and `refused` counts how often. */
  down = false;
  refused = 0;
  /** Most requests that were at the token endpoint at once. */
  busiest = 0;
  readonly options: Required<Options>;
  #busy = 0;
  readonly #families: Family[] = [];
  readonly #tokens = new Map<string, Token>();
  readonly #pairs = new Map<string, { family: Family; pair: Pair }>();
  readonly #codes = new Map<string, { family: Family; challenge: string }>();
  readonly #scripts = new Map<Family, Scripted[]>();
  readonly #server: Server = createServer((request, response) => {
    void this.#serve(request, response).catch(() => response.destroy());
  });

  private constructor(options: Required<Options>) {
    this.options = options;
  }

  static async start({ graceMs, again = 'same_pair', reuse = 'revoke_family', expiresInS = 3600 }: Options) {
    const provider = new GraceProvider({ graceMs, again, reuse, expiresInS });
    await new Promise<void>((done) => provider.#server.listen(0, '127.0.0.1', 1_024, done));
    provider.url = `http://127.0.0.1:${(provider.#server.address() as AddressInfo).port}`;
    return provider;
  }

  async stop(): Promise<void> {
    for (const scripts of this.#scripts.values()) scripts.length = 0;
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  definition(name: string): MessageInitShape<typeof ProviderDefinitionSchema> {
    return {
      name,
      displayName: 'One with a grace',
      apiBaseUrl: `${this.url}/api`,
      oauth: {
        authorizationUrl: `${this.url}/authorize`,
        tokenUrl: `${this.url}/token`,
        rotation: { class: 'strict', reuseGraceS: Math.floor(this.options.graceMs / 1000) },
        revocation: { url: `${this.url}/revoke` },
      },
    } as MessageInitShape<typeof ProviderDefinitionSchema>;
  }

  /** A new grant. */
  grant(): Family {
    const family = { id: this.#families.length, revoked: false } as Family;
    this.#families.push(family);
    family.first = this.#issue(family);
    return family;
  }

  /** Families that were revoked. */
  get lost(): Family[] {
    return this.#families.filter((family) => family.revoked);
  }

  hitsOf(family: Family): Hit[] {
    return this.hits.filter((hit) => hit.family === family);
  }

  /** The pair that was issued last. */
  newestOf(family: Family): Pair {
    return [...this.#pairs.values()].findLast((issued) => issued.family === family)!.pair;
  }

  /** Scripts the next request of a family that has no script yet. */
  next(family: Family, script: Script): Held {
    const arrived = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const scripts = this.#scripts.get(family) ?? [];
    scripts.push({ ...script, arrived: arrived.resolve, released: released.promise });
    this.#scripts.set(family, scripts);
    return { arrived: arrived.promise, release: released.resolve };
  }

  /** Whether an access token is good here, and whose. */
  familyOf(accessToken: string): Family | null {
    const known = this.#pairs.get(accessToken);
    return known && !known.family.revoked ? known.family : null;
  }

  /** Whether who has this access token and what came with it can go on: its refresh token is taken. */
  goesOn(accessToken: string): boolean {
    const known = this.#pairs.get(accessToken);
    if (!known || known.family.revoked) return false;
    const { usedAt } = this.#tokens.get(known.pair.refreshToken)!;
    return usedAt === null || Date.now() - usedAt <= this.options.graceMs;
  }

  #issue(family: Family): Pair {
    const pair = {
      accessToken: `at-${family.id}-${randomBytes(9).toString('base64url')}`,
      refreshToken: `rt-${family.id}-${randomBytes(9).toString('base64url')}`,
    };
    this.#tokens.set(pair.refreshToken, { family, usedAt: null, next: null });
    this.#pairs.set(pair.accessToken, { family, pair });
    return pair;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    const form = new URLSearchParams(await bodyOf(request));
    if (url.pathname === '/authorize') return this.#authorize(url, response);
    if (this.down && url.pathname === '/token') {
      this.refused += 1;
      return answer(response, 503, { error: 'temporarily_unavailable' });
    }
    if (form.get('client_id') !== CLIENT.clientId || form.get('client_secret') !== CLIENT.clientSecrets[0])
      return answer(response, 401, { error: 'invalid_client' });
    if (url.pathname === '/token' && form.get('grant_type') === 'authorization_code')
      return this.#exchange(form, response);
    if (url.pathname === '/token') {
      this.busiest = Math.max(this.busiest, ++this.#busy);
      return this.#token(form.get('refresh_token') ?? '', response).finally(() => --this.#busy);
    }
    if (url.pathname === '/revoke') return this.#revoke(form.get('token') ?? '', response);
    return answer(response, 404, {});
  }

  /** Everybody consents. */
  #authorize(url: URL, response: ServerResponse): void {
    const code = randomBytes(9).toString('base64url');
    this.#codes.set(code, { family: this.grant(), challenge: url.searchParams.get('code_challenge') ?? '' });
    const back = new URL(url.searchParams.get('redirect_uri')!);
    back.searchParams.set('code', code);
    back.searchParams.set('state', url.searchParams.get('state') ?? '');
    response.writeHead(303, { location: back.href }).end();
  }

  async #exchange(form: URLSearchParams, response: ServerResponse): Promise<void> {
    const code = form.get('code') ?? '';
    const known = this.#codes.get(code);
    this.#codes.delete(code);
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url');
    if (known?.challenge !== challenge) return answer(response, 400, { error: 'invalid_grant' });
    return answer(response, 200, this.#document(known.family.first));
  }

  async #token(refreshToken: string, response: ServerResponse): Promise<void> {
    const token = this.#tokens.get(refreshToken);
    if (!token) return answer(response, 400, { error: 'invalid_grant' });
    const { family } = token;
    const hit: Hit = { family, token: refreshToken, at: performance.now(), ok: false };
    this.hits.push(hit);
    const script = this.#scripts.get(family)?.shift();
    script?.arrived();
    if (script?.hold === 'before') await script.released;
    if (script?.drop === 'before') return void response.destroy();
    if (script?.retryAfterS) response.setHeader('retry-after', script.retryAfterS);
    if (script?.status) return answer(response, script.status, { error: 'scripted' });
    const pair = this.#redeem(token);
    hit.ok = pair !== null;
    if (script?.hold === 'after') await script.released;
    if (script?.drop === 'after') return void response.destroy();
    if (this.delayMs > 0) await new Promise((done) => setTimeout(done, this.delayMs));
    if (pair) answer(response, 200, this.#document(pair));
    else answer(response, 400, { error: 'invalid_grant' });
  }

  #redeem(token: Token): Pair | null {
    const { family } = token;
    if (family.revoked) return null;
    const now = Date.now();
    if (token.usedAt === null) {
      token.usedAt = now;
      token.next = this.#issue(family);
      return token.next;
    }
    if (now - token.usedAt <= this.options.graceMs)
      return this.options.again === 'same_pair' ? token.next : this.#issue(family);
    if (this.options.reuse === 'revoke_family') family.revoked = true;
    return null;
  }

  #revoke(text: string, response: ServerResponse): void {
    this.revoked.push(text);
    const family = this.#tokens.get(text)?.family ?? this.#pairs.get(text)?.family;
    if (family) family.revoked = true;
    answer(response, 200, {});
  }

  #document({ accessToken, refreshToken }: Pair) {
    const { expiresInS } = this.options;
    return {
      access_token: accessToken,
      refresh_token: refreshToken,
      token_type: 'Bearer',
      expires_in: expiresInS,
      scope: 'read',
    };
  }
}

function answer(response: ServerResponse, status: number, document: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(document));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}
