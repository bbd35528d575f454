import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';
import type {
  OAuthDefinition,
  OAuthDefinitionSchema,
  ProviderDefinitionSchema,
} from '../../gen/latchkey/v1/provider_pb.ts';
import { CLIENT } from './oauth-server.ts';

type Definition = MessageInitShape<typeof ProviderDefinitionSchema>;
export type OAuthChanges = Exclude<MessageInitShape<typeof OAuthDefinitionSchema>, OAuthDefinition>;

/** A request as it came. */
export type Recorded = {
  path: string;
  method: string;
  headers: IncomingMessage['headers'];
  /** The body as it came, and its members, be it a form or JSON. */
  text: string;
  body: Record<string, string>;
  /** ms since the epoch. */
  at: number;
};

/** What an endpoint answers. */
export type Answer = {
  status?: number;
  headers?: Record<string, string>;
  /** An object is sent as JSON. */
  body?: unknown;
  /** The answer is held until this resolves. */
  until?: Promise<unknown>;
  /** The connection is reset instead: before the body is read, or after. */
  reset?: 'before' | 'after';
};
export type Script = Answer | ((request: Recorded) => Answer | Promise<Answer>);

/** Slow to make, so all share them. */
const keys = generateKeyPair('RS256');

/** A provider on loopback that answers what a test says, well or badly, and keeps what it was asked. Everybody who comes consents at once. */
export class ScriptedProvider {
  url = '';
  readonly requests: Recorded[] = [];
  /** Added to the query of the callback. */
  callbackParameters: Record<string, string> = {};
  /** Parameters of the last authorization request. */
  authorized = new URLSearchParams();
  #scripts = new Map<string, Script[]>();
  #issued = 0;
  #jwk: JWK = {};
  #key!: CryptoKey;
  readonly #server: Server = createServer((request, response) => {
    this.#serve(request, response).catch((error: unknown) => response.destroy(error as Error));
  });

  static async start(): Promise<ScriptedProvider> {
    const provider = new ScriptedProvider();
    const { privateKey, publicKey } = await keys;
    provider.#key = privateKey;
    provider.#jwk = { ...(await exportJWK(publicKey)), kid: 'of-the-provider', alg: 'RS256', use: 'sig' };
    await new Promise<void>((done) => provider.#server.listen(0, '127.0.0.1', done));
    provider.url = `http://127.0.0.1:${(provider.#server.address() as AddressInfo).port}`;
    return provider;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  /** As new: the usual answers, nothing recorded. */
  reset(): void {
    this.#scripts.clear();
    this.requests.length = 0;
    this.callbackParameters = {};
  }

  /** The answers of an endpoint, one after the other; the last one stays. */
  answers(path: string, ...scripts: Script[]): void {
    this.#scripts.set(path, scripts);
  }

  to(path: string): Recorded[] {
    return this.requests.filter((request) => request.path === path);
  }

  count(path: string): number {
    return this.to(path).length;
  }

  /** An id_token for the last authorization request, valid but for what is overridden. */
  idToken(claims: JWTPayload = {}, key: CryptoKey | Uint8Array = this.#key, alg = 'RS256'): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const nonce = this.authorized.get('nonce') ?? undefined;
    const usual = { iss: this.url, aud: CLIENT.clientId, sub: 'ada', iat: now, exp: now + 300, nonce };
    return new SignJWT({ ...usual, ...claims }).setProtectedHeader({ alg, kid: this.#jwk.kid! }).sign(key);
  }

  /** As a tenant would describe it. */
  definition(name: string, changes: OAuthChanges = {}): Definition {
    return {
      name,
      displayName: 'The scripted one',
      apiBaseUrl: `${this.url}/api`,
      oauth: {
        authorizationUrl: `${this.url}/authorize`,
        tokenUrl: `${this.url}/token`,
        deviceAuthorizationUrl: `${this.url}/device`,
        clientCredentials: true,
        scopes: { defaultScopes: ['read', 'write'] },
        identity: { url: `${this.url}/me`, accountId: ['/sub'], email: ['/email'] },
        revocation: { url: `${this.url}/revoke` },
        ...changes,
      },
    } as Definition;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    if (url.pathname === '/authorize') return this.#consent(url, response);
    const scripts = this.#scripts.get(url.pathname) ?? [(asked: Recorded) => this.#usual(asked)];
    const script = scripts.length > 1 ? scripts.shift()! : scripts[0]!;
    const early = typeof script === 'function' ? null : script;
    const text = early?.reset === 'before' ? '' : await textOf(request);
    const { method = '', headers } = request;
    const recorded = { path: url.pathname, method, headers, text, body: membersOf(text), at: Date.now() };
    this.requests.push(recorded);
    const { status = 200, headers: own = {}, body = '', until, reset } = early ?? (await asFunction(script)(recorded));
    await until;
    if (reset) {
      request.socket.resetAndDestroy();
      return;
    }
    const json = typeof body === 'object';
    response.writeHead(status, { 'content-type': json ? 'application/json' : 'text/plain', ...own });
    response.end(json ? JSON.stringify(body) : String(body));
  }

  #consent(url: URL, response: ServerResponse): void {
    const pushed = url.searchParams.get('request_uri');
    this.authorized = pushed ? new URLSearchParams(this.to('/par').at(-1)?.text) : url.searchParams;
    const callback = new URL(this.authorized.get('redirect_uri')!);
    const answer = { code: `code-${++this.#issued}`, state: this.authorized.get('state')!, ...this.callbackParameters };
    for (const [name, value] of Object.entries(answer)) callback.searchParams.set(name, value);
    response.writeHead(302, { location: callback.href }).end();
  }

  #usual({ path, body }: Recorded): Answer {
    const issued = ++this.#issued;
    const answers: Record<string, unknown> = {
      '/token': {
        ...{ access_token: `at-${issued}`, token_type: 'Bearer', expires_in: 3600 },
        ...(body.grant_type === 'client_credentials' ? {} : { refresh_token: `rt-${issued}` }),
      },
      '/device': {
        ...{ device_code: `dc-${issued}`, user_code: 'WDJB-MJHT', verification_uri: `${this.url}/enter` },
        ...{ expires_in: 600, interval: 1 },
      },
      '/par': { request_uri: `urn:ietf:params:oauth:request_uri:${issued}`, expires_in: 60 },
      '/jwks': { keys: [this.#jwk] },
      '/me': { sub: 'ada', email: 'ada@example.com' },
      '/revoke': {},
    };
    return { status: path === '/par' ? 201 : answers[path] ? 200 : 404, body: answers[path] ?? {} };
  }
}

function asFunction(script: Script) {
  return typeof script === 'function' ? script : () => script;
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function membersOf(text: string): Record<string, string> {
  return text.startsWith('{') ? JSON.parse(text) : Object.fromEntries(new URLSearchParams(text));
}
