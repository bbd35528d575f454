import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { type Listener, listenHttp } from './listener.ts';

const FIELDS = { userId: 'userId', langflowUserId: 'langflowUserId', username: 'username', password: 'password' };
const USUAL = {
  secret: 'the-secret-of-the-user-service',
  paths: { get: '/langflow-users/me', create: '/langflow-users', update: '/langflow-users/{userId}' },
  fields: { ...FIELDS, apiKey: 'apiKey' },
};

export type KeptRecord = Record<string, unknown>;
/**
 * What goes wrong with a request: `lost`, its work is done and then the connection reset; `silent`, nobody ever answers; else the answer that it
 * gets instead.
 */
export type Trouble = 'lost' | 'silent' | { status: number; headers?: Record<string, string>; body?: string };
export type Asked = { method: string; path: string; headers: IncomingHttpHeaders; body: string; at: number };

/** The platform's user-service on loopback: as strict as it may be, and as ill as a test wants it. */
export class UserServiceServer {
  readonly secret: string;
  /** By user id, under the names that the fields have here. */
  readonly records = new Map<string, KeptRecord>();
  readonly requests: Asked[] = [];
  /** Of the next requests, one each. */
  readonly troubles: Trouble[] = [];
  /** Of every request, until it is null again. */
  down: Trouble | null = null;
  readonly #paths: typeof USUAL.paths;
  readonly #fields: typeof USUAL.fields;
  #listener!: Listener;

  private constructor({ secret, paths, fields }: typeof USUAL) {
    this.secret = secret;
    this.#paths = paths;
    this.#fields = fields;
  }

  static async start(changes: Partial<typeof USUAL> = {}): Promise<UserServiceServer> {
    const service = new UserServiceServer({ ...USUAL, ...changes });
    service.#listener = await listenHttp((request, response) => void service.#serve(request, response));
    return service;
  }

  get url(): string {
    return this.#listener.url;
  }

  async stop(): Promise<void> {
    await this.#listener[Symbol.asyncDispose]();
  }

  /** As new: well, nothing kept, nothing recorded. */
  reset(): void {
    this.records.clear();
    this.requests.length = 0;
    this.troubles.length = 0;
    this.down = null;
  }

  /** The methods asked for so far. */
  get methods(): string[] {
    return this.requests.map(({ method }) => method);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url: path = '', headers } = request;
    const body = (await request.toArray()).join('');
    const asked = { method, path, headers, body, at: performance.now() };
    this.requests.push(asked);
    const trouble = this.down ?? this.troubles.shift();
    if (trouble === 'silent') return;
    if (trouble === 'lost') {
      this.#answer(asked);
      request.socket.resetAndDestroy();
      return;
    }
    if (trouble) {
      response.writeHead(trouble.status, trouble.headers).end(trouble.body);
      return;
    }
    const [status, answer] = this.#answer(asked);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  }

  #answer({ method, path, headers, body }: Asked): [status: number, answer: unknown] {
    if (headers.authorization !== `Bearer ${this.secret}`) return [401, { message: 'Unauthorized' }];
    const userId = String(headers['x-user-id'] ?? '');
    const endpoint = this.#endpointOf(method, path, userId);
    if (!endpoint || !userId) return [400, { message: `Cannot ${method} ${path}` }];
    const kept = this.records.get(userId);
    if (endpoint === 'get') return kept ? [200, kept] : [404, { message: 'Not Found' }];
    const record = this.#readRecord(body, headers, userId);
    if (!record) return [422, { message: 'not a record', body }];
    if (endpoint === 'create' && kept) return [409, { message: 'Conflict', kept }];
    if (endpoint === 'update' && !kept) return [404, { message: 'Not Found' }];
    this.records.set(userId, { ...kept, ...record });
    return [endpoint === 'create' ? 201 : 200, this.records.get(userId)];
  }

  #endpointOf(method: string, path: string, userId: string) {
    const methods = { get: 'GET', create: 'POST', update: 'PATCH' };
    const endpoints = ['get', 'create', 'update'] as const;
    const leadsTo = (template: string) => path === template.replaceAll('{userId}', encodeURIComponent(userId));
    return endpoints.find((endpoint) => methods[endpoint] === method && leadsTo(this.#paths[endpoint]));
  }

  /** Null where it is not JSON, another user's, or has other fields than those of a record. */
  #readRecord(body: string, headers: IncomingHttpHeaders, userId: string): KeptRecord | null {
    if (headers['content-type'] !== 'application/json') return null;
    const record: KeptRecord = JSON.parse(body);
    const names: string[] = Object.values(this.#fields);
    const whole = Object.keys(record).toSorted().join() === names.toSorted().join();
    return whole && record[this.#fields.userId] === userId ? record : null;
  }
}
