import { randomBytes, randomUUID } from 'node:crypto';
import type { Switches } from './profiles.ts';

/** As Langflow shows it, and the password. */
export type User = {
  id: string;
  username: string;
  password: string;
  profile_image: string | null;
  store_api_key: string | null;
  is_active: boolean;
  is_superuser: boolean;
  create_at: string;
  updated_at: string;
  last_login_at: string | null;
  optins: Record<string, unknown> | null;
};

export type ApiKey = {
  id: string;
  user_id: string;
  name: string | null;
  api_key: string;
  is_active: boolean;
  created_at: string;
  last_used_at: string | null;
  total_uses: number;
  /** The secret key of the day it was made. */
  secret: Uint8Array;
};

export type Flow = {
  id: string;
  /** Null for an example. */
  user_id: string | null;
  folder_id: string | null;
  name: string;
  endpoint_name: string | null;
  data: Record<string, unknown> | null;
  is_component: boolean;
  updated_at: string;
} & Record<string, unknown>;

/** One run of a flow. */
export type Run = {
  flow: Flow;
  /** Whose key it was. */
  by: string;
  sessionId: string;
  input: Record<string, unknown>;
  streamed: boolean;
  /** `stopped`: the client of a stream hung up. */
  state: 'running' | 'done' | 'failed' | 'stopped';
  /** The client hung up, which stops a run only if it is streamed. */
  disconnected: boolean;
  /** Lets the run of a flow that is `slow:` go on. */
  release: () => void;
};

/** Rows, some of which the next requests that look for them do not find yet. */
export class Table<Row extends { id: string }> {
  readonly #entries = new Map<string, { row: Row; hiddenFrom: number }>();

  add(row: Row, hiddenFrom = 0): Row {
    this.#entries.set(row.id, { row, hiddenFrom });
    return row;
  }

  delete(matches: (row: Row) => boolean): void {
    for (const row of this.all().filter(matches)) this.#entries.delete(row.id);
  }

  /** Everything there is, as the database's own constraints know it. */
  all(): Row[] {
    return [...this.#entries.values()].map(({ row }) => row);
  }

  /** What a request sees; to be asked once a request. */
  see(matches: (row: Row) => boolean): Row[] {
    const found = [...this.#entries.values()].filter(({ row }) => matches(row));
    return found.filter((entry) => entry.hiddenFrom-- <= 0).map(({ row }) => row);
  }

  find(matches: (row: Row) => boolean): Row | undefined {
    return this.see(matches)[0];
  }

  /** From now on requests find everything. */
  settle(): void {
    for (const entry of this.#entries.values()) entry.hiddenFrom = 0;
  }
}

type Options = { switches: Switches; now: () => number; adminKey?: string | undefined };

/** All that one Langflow knows. */
export class World {
  readonly switches: Switches;
  readonly now: () => number;
  readonly users = new Table<User>();
  readonly keys = new Table<ApiKey>();
  readonly flows = new Table<Flow>();
  readonly runs: Run[] = [];
  /** Logins in the current minute, by address. */
  readonly logins = new Map<string, { count: number; until: number }>();
  /** The superuser's, which is not among the keys. */
  readonly environmentKey: string | null;
  readonly admin: User;
  adminKey: string;
  secret: Uint8Array = randomBytes(32);
  /** To be called when something happens that tests may wait for. */
  changed: () => void = () => {};
  readonly #folders = new Map<string, string>();

  constructor({ switches, now, adminKey }: Options) {
    this.switches = switches;
    this.now = now;
    this.environmentKey = switches.takesEnvironmentKey ? (adminKey ?? null) : null;
    this.admin = this.addUser('admin', 'the-admins-password', { is_active: true, is_superuser: true });
    this.adminKey = this.environmentKey ?? this.addKey(this.admin, adminKey ? { api_key: adminKey } : {}).api_key;
    this.addFlow(null, { name: 'Basic Prompting (Hello, World)', data: { nodes: [], edges: [] } });
  }

  /** Everything that was signed or sealed is dead. */
  rotateSecretKey(): void {
    this.secret = randomBytes(32);
    if (this.switches.sealsKeys && !this.environmentKey) this.adminKey = this.addKey(this.admin).api_key;
  }

  addUser(username: string, password: string, changes: Partial<User> = {}, hiddenFrom = 0): User {
    const at = this.localTime();
    const user: User = {
      ...{ id: randomUUID(), username, password, profile_image: null, store_api_key: null },
      ...{ is_active: this.switches.newUserIsActive, is_superuser: false, last_login_at: null, optins: null },
      ...{ create_at: at, updated_at: at, ...changes },
    };
    return this.users.add(user, hiddenFrom);
  }

  addKey(user: User, changes: Partial<ApiKey> = {}, hiddenFrom = 0): ApiKey {
    const key: ApiKey = {
      ...{ id: randomUUID(), user_id: user.id, name: null, api_key: `sk-${randomBytes(32).toString('base64url')}` },
      ...{ is_active: true, created_at: this.localTime(), last_used_at: null, total_uses: 0, secret: this.secret },
      ...changes,
    };
    return this.keys.add(key, hiddenFrom);
  }

  addFlow(owner: User | null, fields: Partial<Flow> & { name: string }, hiddenFrom = 0): Flow {
    const flow: Flow = {
      ...{ id: randomUUID(), description: null, icon: null, icon_bg_color: null, gradient: null, data: null },
      ...{ is_component: false, webhook: false, endpoint_name: null, tags: null, locked: false, mcp_enabled: false },
      ...{ action_name: null, action_description: null, access_type: 'PRIVATE', fs_path: null },
      ...fields,
      ...{ user_id: owner?.id ?? null, folder_id: owner && this.folderOf(owner), updated_at: this.zonedTime() },
    };
    return this.flows.add(flow, hiddenFrom);
  }

  deleteUser(user: User): void {
    this.users.delete(({ id }) => id === user.id);
    this.keys.delete(({ user_id }) => user_id === user.id);
    this.flows.delete(({ user_id }) => user_id === user.id);
  }

  /** The default folder. */
  folderOf(user: User): string {
    const folder = this.#folders.get(user.id) ?? randomUUID();
    this.#folders.set(user.id, folder);
    return folder;
  }

  /** As users and keys have it: without a zone. */
  localTime(): string {
    return new Date(this.now()).toISOString().slice(0, -1);
  }

  /** As flows have it. */
  zonedTime(): string {
    return `${this.localTime()}+00:00`;
  }
}
