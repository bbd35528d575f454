import { type Received, type Receiver, startReceiver } from './receiver.ts';

export type AuthifiFake = Receiver & {
  /** Members by group. */
  groups: Map<string, Set<string>>;
  /** The token that the Admin API takes; it is what the token endpoint grants. */
  token: string;
};
type Answer = [status: number, body?: unknown];

const GROUP = /^\/auth\/admin\/tenants\/t1\/groups(?:\/([^/?]+)\/users(?:\/([^/?]+))?)?$/;

/** Group membership as Authifi's Admin API has it, with a token endpoint beside it. */
export async function startAuthifi(): Promise<AuthifiFake> {
  const fake: AuthifiFake = Object.assign(await startReceiver(), {
    groups: new Map([
      ['staff', new Set(['ada', 'bob'])],
      ['guests', new Set<string>()],
    ]),
    token: 'admin-token-1',
  });
  fake.answer = (request, response) => {
    const [status, body] = answerTo(fake, request);
    response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body));
  };
  return fake;
}

function answerTo({ groups, token }: AuthifiFake, { method, path, headers, body }: Received): Answer {
  if (path === '/token') return [200, { access_token: token, token_type: 'Bearer', expires_in: 3_600 }];
  if (headers.authorization !== `Bearer ${token}`) return [401, { error: 'unauthorized' }];
  const [known, groupId, memberId] = GROUP.exec(path) ?? [];
  if (known === undefined) return [404, { error: 'no such path' }];
  if (groupId === undefined) return [200, { total: groups.size, items: [...groups.keys()].map((id) => ({ id })) }];
  const members = groups.get(decodeURIComponent(groupId));
  if (!members) return [404, { error: 'no such group' }];
  const given = body.length > 0 ? (JSON.parse(body.toString()) as { userId?: string }).userId : undefined;
  const userId = memberId === undefined ? given : decodeURIComponent(memberId);
  if (userId === undefined) return method === 'GET' ? [200, { items: [...members].map((id) => ({ id })) }] : [400];
  if (method === 'GET') return members.has(userId) ? [200, { id: userId }] : [404];
  if (method === 'DELETE') return members.delete(userId) ? [204] : [404];
  return members.size === members.add(userId).size ? [409] : [201];
}
