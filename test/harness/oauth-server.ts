import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { MessageInitShape } from '@bufbuild/protobuf';
import Provider, { type Configuration } from 'oidc-provider';
import type { ProviderDefinitionSchema } from '../../gen/latchkey/v1/provider_pb.ts';

type Definition = MessageInitShape<typeof ProviderDefinitionSchema>;

export const CLIENT = { clientId: 'latchkey', clientSecrets: ['right-secret'] };

type Options = {
  redirectUris?: string[];
  /** Required at the authorization endpoint. */
  pushed?: boolean;
  configuration?: Configuration;
};

/**
 * A strict OAuth 2.0 and OpenID server (`oidc-provider`) on loopback: PKCE required, exact redirect URIs, rotation of refresh tokens, `iss`, device
 * flow, revocation. Everybody who comes is signed in as the account that the test names, and consents to what it names.
 */
export class OAuthServer {
  url = '';
  /** Requests by path. */
  readonly requests = new Map<string, number>();
  /** Who comes. */
  account = 'ada';
  /** What they grant; null: what is requested. */
  granted: string | null = null;
  /** They decline. */
  declines = false;
  /** Knows no refresh token any more. */
  forgetful = false;
  /** Answers 503 at the paths that are named here. */
  readonly down = new Set<string>();
  provider!: Provider;
  readonly #server: Server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0]!;
    this.requests.set(path, this.count(path) + 1);
    if (this.down.has(path)) response.writeHead(503).end('down');
    else this.provider.callback()(request, response);
  });

  static async start({ redirectUris = [], pushed = false, configuration = {} }: Options = {}): Promise<OAuthServer> {
    const server = new OAuthServer();
    await new Promise<void>((done) => server.#server.listen(0, '127.0.0.1', done));
    server.url = `http://127.0.0.1:${(server.#server.address() as AddressInfo).port}`;
    server.provider = new Provider(server.url, {
      clients: [
        {
          client_id: CLIENT.clientId,
          client_secret: CLIENT.clientSecrets[0]!,
          token_endpoint_auth_method: 'client_secret_post',
          redirect_uris: redirectUris,
          grant_types: [
            'authorization_code',
            'refresh_token',
            'client_credentials',
            'urn:ietf:params:oauth:grant-type:device_code',
          ],
          response_types: ['code'],
        },
      ],
      pkce: { required: () => true },
      rotateRefreshToken: true,
      issueRefreshToken: async () => true,
      scopes: ['openid', 'email', 'offline_access', 'read', 'write'],
      claims: { openid: ['sub'], email: ['email', 'email_verified'] },
      features: {
        devInteractions: { enabled: false },
        deviceFlow: { enabled: true },
        clientCredentials: { enabled: true },
        revocation: { enabled: true },
        introspection: { enabled: true },
        pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: pushed },
      },
      ttl: {
        ...{ AccessToken: 600, AuthorizationCode: 60, RefreshToken: 3600, DeviceCode: 600, ClientCredentials: 600 },
        ...{ Interaction: 600, Session: 600, Grant: 3600, IdToken: 600 },
      },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true }),
      }),
      cookies: { keys: ['of the tests'] },
      interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
      ...configuration,
    });
    server.provider.use((context, next) => server.#interact(context, next));
    const { RefreshToken } = server.provider;
    const find = RefreshToken.find.bind(RefreshToken) as (token: string) => Promise<undefined>;
    RefreshToken.find = async (token: string) => (server.forgetful ? undefined : find(token));
    return server;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  count(path: string): number {
    return this.requests.get(path) ?? 0;
  }

  /** As a tenant would describe it. */
  definition(name: string, changes: Partial<NonNullable<Definition['oauth']>> = {}): Definition {
    return {
      name,
      displayName: 'The strict one',
      apiBaseUrl: `${this.url}/api`,
      oauth: {
        issuer: this.url,
        authorizationUrl: `${this.url}/auth`,
        tokenUrl: `${this.url}/token`,
        deviceAuthorizationUrl: `${this.url}/device/auth`,
        jwksUrl: `${this.url}/jwks`,
        sendsIss: true,
        clientCredentials: true,
        scopes: { defaultScopes: ['openid', 'email', 'read'], known: { read: 'Read', write: 'Write' } },
        authorizationParameters: { prompt: 'consent' },
        rotation: { class: 'strict' },
        revocation: { url: `${this.url}/token/revocation` },
        identity: {
          url: `${this.url}/me`,
          accountId: ['/sub'],
          email: ['/email'],
          emailVerified: '/email_verified',
        },
        ...changes,
      },
    } as Definition;
  }

  async #interact(context: Parameters<Parameters<Provider['use']>[0]>[0], next: () => Promise<void>): Promise<void> {
    if (!context.path.startsWith('/interaction/')) return next();
    const details = await this.provider.interactionDetails(context.req, context.res);
    if (this.declines) return this.provider.interactionFinished(context.req, context.res, { error: 'access_denied' });
    if (details.prompt.name === 'login')
      return this.provider.interactionFinished(context.req, context.res, { login: { accountId: this.account } });
    const grant = new this.provider.Grant({ accountId: details.session!.accountId, clientId: CLIENT.clientId });
    const requested = String(details.params.scope).split(' ');
    const granted = this.granted?.split(' ') ?? requested;
    grant.addOIDCScope(granted.join(' '));
    grant.rejectOIDCScope(requested.filter((scope) => !granted.includes(scope)).join(' '));
    const grantId = await grant.save();
    return this.provider.interactionFinished(
      context.req,
      context.res,
      { consent: { grantId } },
      { mergeWithLastSubmission: true },
    );
  }
}
