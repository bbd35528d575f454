import type { DescMethod } from '@bufbuild/protobuf';
import { afterAll, describe, expect, it } from 'vitest';
import { services } from '../../src/handlers/index.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import { sendMessage, signedHeaders, signingSecret } from '../harness/inbound.ts';
import { startLangflow } from '../harness/langflow.ts';
import type { Clients } from '../harness/server.ts';
import { startWebhookReceiver } from '../harness/webhook-receiver.ts';

/** More than a page has where nobody says how many, and more than two of seven. */
const MADE = 23;

const langflow = await startLangflow({ version: '1.13' });
const receiver = await startWebhookReceiver();
afterAll(async () => {
  await langflow.close();
  await receiver[Symbol.asyncDispose]();
});

type Asked = Record<string, unknown>;
type Answer = { keys: string[]; nextPageToken: string; totalSize: number | undefined };
type Place = {
  clients: Clients;
  httpPort: number;
  /** Has a user appear. */
  appear(subject: string): Promise<unknown>;
};
/** Makes one more of what a list is of, in the tenant of the clients; answers what to ask the list beside its page, where that takes something. */
type Maker = (place: Place, name: string, asked: Asked) => Promise<Asked | undefined>;

const BEARER = {
  kind: { case: 'bearer' as const, value: { token: { source: { case: 'value' as const, value: 't' } } } },
};
const nothing = async () => undefined;
const done = (work: Promise<unknown>) => work.then(nothing);
const secret = signingSecret();

/** Of all tenants, for the operator alone. */
const OF_ALL_TENANTS = 'ListTenants';
let tenants = 0;

/** Each list, and what fills it; null: what is there cannot be made. */
const LISTS: Record<string, Maker | null> = {
  [OF_ALL_TENANTS]: ({ clients }) => done(clients.access.createTenant({ tenantId: `made-${++tenants}` })),
  ListUsers: ({ appear }, name) => done(appear(name)),
  ListRoles: null,
  ListApiKeys: ({ clients }, name) => done(clients.access.createApiKey({ displayName: name, scopes: ['audit:read'] })),
  ListAuditEntries: async ({ clients }, name) => {
    await clients.secrets.createSecret({ name, value: 'v' });
    return { action: 'secret_created' };
  },
  ListConnections: ({ clients }, name) => done(clients.connections.createConnection({ name, credential: BEARER })),
  ListConnectorTypes: null,
  ListConnectors: ({ clients }, name) => done(clients.connectors.createConnector({ name, type: 'delay' })),
  ListEvents: async ({ clients }, name) => {
    await clients.connections.createConnection({ name, credential: BEARER });
    return { filter: { types: ['connection.created'] } };
  },
  ListProviders: null,
  ListIntegrations: ({ clients }) => done(clients.integrations.createIntegration({ provider: 'google' })),
  ListFlows: async ({ clients }, name) => {
    await clients.langflow.createFlow({ name });
    return { component: false };
  },
  ListSecrets: ({ clients }, name) => done(clients.secrets.createSecret({ name, value: 'v' })),
  ListDeliveries: ({ clients }) =>
    done(clients.webhooks.sendWebhook({ url: receiver.url, condition: 'n > 1', variables: { n: 0 } })),
  ListEndpoints: ({ clients }) =>
    done(clients.webhooks.createEndpoint({ url: receiver.url, eventTypes: { types: ['account.provisioned'] } })),
  ListEndpointDeliveries: async ({ clients }, _, { endpointId }) => {
    const request = { url: receiver.url, eventTypes: { types: ['account.provisioned'] } };
    const id = (endpointId as string) ?? (await clients.webhooks.createEndpoint(request)).endpoint!.id;
    await clients.webhooks.sendTestEvent({ endpointId: id });
    return { endpointId: id };
  },
  ListInboundEndpoints: ({ clients }, name) =>
    done(clients.webhooks.createInboundEndpoint({ name, signingSecrets: { secrets: [secret] } })),
  ListInboundMessages: async ({ clients, httpPort }, name, { endpointId }) => {
    const request = { name, signingSecrets: { secrets: [secret] } };
    const id = (endpointId as string) ?? (await clients.webhooks.createInboundEndpoint(request)).endpoint!.id;
    const sent = await sendMessage(httpPort, id, signedHeaders(secret, name, '{}'), '{}');
    expect(sent.status).toBe(202);
    return { endpointId: id };
  },
};
const methods = services.flatMap(({ service }) => service.methods).filter(({ name }) => name.startsWith('List'));
const methodOf = (name: string) => methods.find((method) => method.name === name)!;
const SERVICES: Record<string, keyof Clients> = {
  AccessService: 'access',
  AuditService: 'audit',
  ConnectionService: 'connections',
  ConnectorService: 'connectors',
  EventService: 'events',
  IntegrationService: 'integrations',
  LangflowService: 'langflow',
  SecretService: 'secrets',
  WebhookService: 'webhooks',
};

/** The numbers of the orders of a list, without that of none. */
function ordersOf(method: DescMethod): { name: string; number: number }[] {
  const { enum: orders } = method.input.field.order!;
  const prefix = orders!.sharedPrefix ?? '';
  return orders!.values
    .filter(({ number }) => number > 0)
    .map(({ name, number }) => ({ name: name.toLowerCase().replace(prefix, ''), number }));
}

type Item = { id?: string; name?: string; definition?: { name: string } };

async function list(clients: Clients, method: DescMethod, request: Asked): Promise<Answer> {
  const client = clients[SERVICES[method.parent.name]!] as unknown as Record<
    string,
    (request: Asked) => Promise<Asked>
  >;
  const answer = await client[method.localName]!(request);
  const items = answer[method.output.fields.find((field) => field.fieldKind === 'list')!.localName] as Item[];
  const keys = items.map(({ id, name, definition }) => id ?? name ?? definition!.name);
  return {
    keys,
    nextPageToken: answer.nextPageToken as string,
    totalSize: answer.totalSize as number | undefined,
  };
}

/** All that a list has, or has left, by pages of this size. */
async function pagesOf(
  clients: Clients,
  method: DescMethod,
  asked: Asked,
  pageSize: number,
  from = '',
): Promise<string[]> {
  const keys: string[] = [];
  for (let pageToken = from; ; ) {
    const page = await list(clients, method, { ...asked, pageSize, pageToken });
    expect(page.keys.length).toBe(page.nextPageToken ? pageSize : page.keys.length);
    expect(page.totalSize).toBeUndefined();
    keys.push(...page.keys);
    pageToken = page.nextPageToken;
    if (!pageToken) return keys;
  }
}

it('tries every list there is', () => {
  expect(Object.keys(LISTS).sort()).toEqual(methods.map(({ name }) => name).sort());
});

describeRpc(
  'Every list',
  ({ as, operator, server, tenant }) => {
    async function filled(name: string) {
      const clients = name === OF_ALL_TENANTS ? operator() : await as('admin');
      const place: Place = {
        ...{ clients, httpPort: server().replica.httpPort },
        appear: async (subject) => (await as('requestor', { subject })).access.getMe({}),
      };
      langflow.forgetLogins();
      const make = LISTS[name];
      let asked: Asked = {};
      const more = async (count: number, prefix: string) => {
        for (let n = 0; make && n < count; n++)
          asked = (await make(place, `${prefix}${String(n).padStart(3, '0')}`, asked)) ?? asked;
      };
      await more(MADE, 'm');
      return { clients, method: methodOf(name), asked, more };
    }

    describe.each(Object.keys(LISTS))('%s', (name) => {
      it('pages, skips, orders and counts as every other', async () => {
        const { clients, method, asked, more } = await filled(name);
        const whole = await pagesOf(clients, method, asked, 100);
        expect(whole.length).toBeGreaterThanOrEqual(LISTS[name] ? MADE : 4);
        expect(new Set(whole).size).toBe(whole.length);
        const most = await list(clients, method, { ...asked, pageSize: 1_000, withTotalSize: true });
        expect(most).toMatchObject({ keys: whole.slice(0, 100), totalSize: whole.length });
        expect((await list(clients, method, asked)).keys).toEqual(whole.slice(0, 20));

        const orders = ordersOf(method);
        const [usual] = orders;
        const inOrder = new Map<string, string[]>();
        for (const order of orders) {
          const keys = await pagesOf(clients, method, { ...asked, order: order.number }, 7);
          expect(keys.toSorted(), order.name).toEqual(whole.toSorted());
          inOrder.set(order.name, keys);
        }
        expect(inOrder.get(usual!.name)).toEqual(whole);
        for (const [order, keys] of inOrder) {
          const backwards = inOrder.get(order.replace(/_asc$/, '_desc'));
          expect(order.endsWith('_asc') && backwards ? backwards : keys.toReversed()).toEqual(keys.toReversed());
        }
        expect(orders.some((order) => order.name.endsWith('_asc'))).toBe(true);
        expect(orders.some((order) => order.name.endsWith('_desc'))).toBe(true);

        for (const skip of [1, 3, whole.length - 1, whole.length, 10_000]) {
          const page = await list(clients, method, { ...asked, skip, pageSize: 3, withTotalSize: true });
          expect(page.keys, `${skip}`).toEqual(whole.slice(skip, skip + 3));
          expect(page.totalSize).toBe(whole.length);
        }

        // What is made between two pages moves nothing that is still to come.
        const first = await list(clients, method, { ...asked, pageSize: 3 });
        await more(2, 'later');
        const rest = await pagesOf(clients, method, asked, 100, first.nextPageToken);
        const known = [...first.keys, ...rest].filter((key) => whole.includes(key));
        expect(known).toEqual(whole);
      });

      it('refuses what is no page of it', async () => {
        const { clients, method, asked } = await filled(name);
        const { nextPageToken: pageToken } = await list(clients, method, { ...asked, pageSize: 2 });
        const fault = (request: Asked, by = clients) => failureOf(list(by, method, { ...asked, ...request }));
        const fields = async (request: Asked) => (await fault(request)).fields;
        expect(await fields({ pageSize: -1 })).toEqual(['page_size']);
        expect(await fields({ skip: -1 })).toEqual(['skip']);
        expect(await fields({ skip: 10_001 })).toEqual(['skip']);
        expect(await fields({ skip: 1, pageToken })).toEqual(['skip']);
        expect(await fields({ order: 99 })).toEqual(['order']);
        expect(await fields({ pageToken: 'x'.repeat(4_097) })).toEqual(['page_token']);

        const altered = `${pageToken.slice(0, -2)}${pageToken.endsWith('A') ? 'B' : 'A'}${pageToken.slice(-1)}`;
        const elsewhere = await as('admin', { tenant: `${tenant()}-other` });
        const otherOrder = ordersOf(method).at(-1)!.number;
        const otherList = await list(clients, methodOf(name === 'ListRoles' ? 'ListProviders' : 'ListRoles'), {
          pageSize: 1,
        });
        for (const failure of [
          await fault({ pageToken: altered }),
          await fault({ pageToken: 'nonsense' }),
          await fault({ pageToken: pageToken.slice(0, 8) }),
          await fault({ pageToken, order: otherOrder }),
          await fault({ pageToken: otherList.nextPageToken }),
          ...(name === OF_ALL_TENANTS || needsItsOwn(asked) ? [] : [await fault({ pageToken }, elsewhere)]),
        ])
          expect(failure).toMatchObject({ code: 'InvalidArgument', reason: 'PAGE_TOKEN_INVALID' });
      });
    });
  },
  { LANGFLOW_BASE_URL: langflow.url, LANGFLOW_ADMIN_API_KEY: langflow.adminKey, SANDBOX: 'off' },
);

/** Whether a list is of something that another tenant has not. */
function needsItsOwn(asked: Asked): boolean {
  return 'endpointId' in asked;
}
