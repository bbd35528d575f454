import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type CryptoKey,
  exportJWK,
  generateKeyPair,
  type JWK,
  type JWTHeaderParameters,
  type JWTPayload,
  SignJWT,
} from 'jose';

export const AUDIENCE = 'https://latchkey.test';

type Key = { kid: string; alg: string; privateKey: CryptoKey; jwk: JWK };

/** An OpenID issuer on loopback that signs whatever a test asks for, and counts what it is asked. */
export class TestIssuer {
  url = '';
  /** Requests by path. */
  readonly requests = new Map<string, number>();
  /** Answers 503 to everything. */
  down = false;
  /** Overrides what the discovery document says. */
  discovery: Record<string, unknown> = {};
  /** Claims that the userinfo endpoint answers. */
  userinfo: Record<string, unknown> = {};
  #keys: Key[] = [];
  readonly #server = createServer((request, response) => this.#serve(request, response));

  static async start(): Promise<TestIssuer> {
    const issuer = new TestIssuer();
    issuer.#keys = [await newKey('RS256'), await newKey('ES256')];
    await new Promise<void>((done) => issuer.#server.listen(0, '127.0.0.1', done));
    issuer.url = `http://127.0.0.1:${(issuer.#server.address() as AddressInfo).port}`;
    return issuer;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  /** A valid access token, but for what is overridden. */
  async token(
    claims: JWTPayload,
    { alg = 'RS256', header = {} }: { alg?: string; header?: Partial<JWTHeaderParameters> } = {},
  ): Promise<string> {
    const key = this.#keys.find((candidate) => candidate.alg === alg)!;
    const now = Math.floor(Date.now() / 1000);
    const all: JWTPayload = { iss: this.url, aud: AUDIENCE, sub: 'somebody', iat: now, exp: now + 3600, ...claims };
    return new SignJWT(all).setProtectedHeader({ alg, kid: key.kid, typ: 'at+jwt', ...header }).sign(key.privateKey);
  }

  publicJwk(alg = 'RS256'): JWK {
    return this.#keys.find((candidate) => candidate.alg === alg)!.jwk;
  }

  /** Signs with a new key from now on. */
  async rotate(): Promise<void> {
    this.#keys = [await newKey('RS256'), await newKey('ES256')];
  }

  count(path: string): number {
    return this.requests.get(path) ?? 0;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '';
    this.requests.set(path, this.count(path) + 1);
    const documents: Record<string, unknown> = {
      '/.well-known/openid-configuration': {
        issuer: this.url,
        jwks_uri: `${this.url}/jwks`,
        userinfo_endpoint: `${this.url}/userinfo`,
        ...this.discovery,
      },
      '/jwks': { keys: this.#keys.map((key) => key.jwk) },
      '/userinfo': this.userinfo,
    };
    const document = this.down ? undefined : documents[path];
    response.writeHead(document ? 200 : this.down ? 503 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document ?? {}));
  }
}

async function newKey(alg: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const kid = `${alg}-${Math.random().toString(36).slice(2)}`;
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}
