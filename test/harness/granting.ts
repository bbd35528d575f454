import { afterAll, beforeAll, beforeEach } from 'vitest';
import { authorizeAt, setUp } from './authorizations.ts';
import { type OAuthChanges, type Script, ScriptedProvider } from './scripted-provider.ts';
import { type Clients, TestServer } from './server.ts';

/** An answer of the token endpoint, with these changes. */
export const granted = (changes: Record<string, unknown> = {}) => ({
  body: { access_token: 'at', token_type: 'Bearer', expires_in: 3600, refresh_token: 'rt', ...changes },
});
export const SLACK = { errors: { failurePointer: '/ok', failureWhen: 'false', misconfigured: ['bad_client_secret'] } };

/** A server and a scripted provider for the tests of a file, each of which begins in a new tenant, with a provider that is as new. */
export class Granting {
  server!: TestServer;
  provider!: ScriptedProvider;
  /** Of an administrator. */
  clients!: Clients;
  #tenants = 0;

  constructor() {
    beforeAll(async () => {
      this.server = await TestServer.start();
      this.provider = await ScriptedProvider.start();
    });
    afterAll(async () => {
      await this.server.stop();
      await this.provider.stop();
    });
    beforeEach(async () => {
      this.provider.reset();
      await this.enterNewTenant();
    });
  }

  async enterNewTenant(): Promise<void> {
    this.clients = await this.server.as('admin', { tenant: `grants-${++this.#tenants}` });
  }

  /** Goes to the provider and back, where the token endpoint answers this. */
  async authorize(answer: Script, oauth: OAuthChanges = {}) {
    this.provider.answers('/token', answer);
    return authorizeAt(this.clients, await setUp(this.clients, this.provider.definition('scripted', oauth)));
  }

  /** What is stored of a connection's credential, as only the database's superuser sees it. */
  async storedOf(connectionId: string) {
    const [row] = await this.server.database.sql<{ fields: { refreshable: boolean }; expire_time: Date | null }>(
      'select fields, expire_time from latchkey.credential where connection_id = $1',
      [connectionId],
    );
    return row;
  }
}
