import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import { type Clients, type Role, TestServer, TRANSPORTS, type TransportName } from './server.ts';

export type RpcContext = {
  server(): TestServer;
  transport: TransportName;
  /** A tenant of the test's own. */
  tenant(): string;
  /** Clients of a user of that tenant with a role. */
  as(role: Role, options?: { subject?: string; tenant?: string }): Promise<Clients>;
  operator(): Clients;
};

let tenants = 0;

/** A suite that runs over each transport against a server of its own, every test in a new tenant. */
export function describeRpc(
  name: string,
  suite: (context: RpcContext) => void,
  env: Record<string, string> = {},
): void {
  describe(name, () => {
    let server: TestServer;
    let tenant = '';
    beforeAll(async () => {
      server = await TestServer.start({ env });
    });
    afterAll(() => server.stop());
    beforeEach(() => {
      tenant = `tenant-${++tenants}`;
    });
    describe.each(TRANSPORTS)('over %s', (transport) => {
      suite({
        transport,
        server: () => server,
        tenant: () => tenant,
        as: (role, options) => server.as(role, { tenant, transport, ...options }),
        operator: () => server.operator(transport),
      });
    });
  });
}
