import { setTimeout as pause } from 'node:timers/promises';
import { LatchkeyError } from '../base/error.ts';
import { retryAfterMs } from '../base/retry-after.ts';
import type { UserServiceSettings } from '../config.ts';
import type { Egress } from '../egress/egress.ts';
import { EgressError } from '../egress/egress-error.ts';
import type { EgressInit } from '../egress/request.ts';

/** An account at Langflow as the user-service keeps it. `apiKey` can be empty. */
export type UserServiceRecord = { langflowUserId: string; username: string; password: string; apiKey: string };

type Endpoint = keyof UserServiceSettings['paths'];
type Field = keyof UserServiceSettings['fields'];

const METHODS: Record<Endpoint, string> = { get: 'GET', create: 'POST', update: 'PATCH' };
/** Of one try. */
const TIMEOUT_MS = 3_000;
/** Before the second and the third try. */
const PAUSES_MS = [200, 800];
const LONGEST_PAUSE_MS = 2_000;
/** For our caller, once no try was answered. */
const RETRY_AFTER_MS = 5_000;
const NO_ACCOUNT: UserServiceRecord = { langflowUserId: '', username: '', password: '', apiKey: '' };

/**
 * The platform's user-service, which keeps the Langflow accounts of its users. Every call may be sent up to three times. Every method fails with
 * USER_SERVICE_UNAVAILABLE, INTEGRATION_MISCONFIGURED or ADDRESS_FORBIDDEN; none says a word of what was sent or answered.
 */
export class UserService {
  readonly #settings: UserServiceSettings;
  readonly #door: Pick<Egress, 'fetch'>;

  /** @param door one that is open to the service's host */
  constructor(settings: UserServiceSettings, door: Pick<Egress, 'fetch'>) {
    this.#settings = settings;
    this.#door = door;
  }

  /** Null where there is none, or one that was emptied. */
  async find(userId: string): Promise<UserServiceRecord | null> {
    const response = await this.#call('get', userId, null, 404);
    return response.status === 404 ? null : this.#recordOf(await response.text());
  }

  /** Changes the record, or makes it where there is none. */
  async keep(userId: string, record: UserServiceRecord): Promise<void> {
    if ((await this.#call('update', userId, record, 404)).ok) return;
    // 409: somebody made it meanwhile, or a try of ours whose answer was lost.
    if ((await this.#call('create', userId, record, 409)).ok) return;
    await this.#call('update', userId, record);
  }

  /** Empties the record: the service has no way to delete it. */
  async forget(userId: string): Promise<void> {
    await this.#call('update', userId, NO_ACCOUNT, 404);
  }

  /** @param fine a status that is an answer, not a failure */
  async #call(endpoint: Endpoint, userId: string, record: UserServiceRecord | null, fine?: number): Promise<Response> {
    if (!isSendable(userId)) throw misconfigured('user_id_unsendable');
    const { url, paths } = this.#settings;
    const path = paths[endpoint].replaceAll('{userId}', encodeURIComponent(userId));
    const outcome = await this.#send(`${url}${path}`, this.#request(METHODS[endpoint], userId, record));
    if (outcome instanceof EgressError) throw unavailable(outcome);
    const { ok, status } = outcome;
    if (ok || status === fine) return outcome;
    const cause = new Error(`the user-service answered ${METHODS[endpoint]} with ${status}`);
    throw isPassing(outcome) || status < 400 ? unavailable(cause) : misconfigured('user_service_refused', cause);
  }

  #request(method: string, userId: string, record: UserServiceRecord | null): EgressInit {
    const { secret, fields } = this.#settings;
    const headers = { accept: 'application/json', authorization: `Bearer ${secret}`, 'x-user-id': userId };
    if (!record) return { method, headers, timeoutMs: TIMEOUT_MS };
    const values = { userId, ...record };
    const named = Object.entries(fields).map(([field, name]) => [name, values[field as Field]]);
    return {
      ...{ method, timeoutMs: TIMEOUT_MS, body: JSON.stringify(Object.fromEntries(named)) },
      headers: { ...headers, 'content-type': 'application/json' },
    };
  }

  async #send(url: string, request: EgressInit): Promise<Response | EgressError> {
    for (const pauseMs of PAUSES_MS) {
      const outcome = await this.#try(url, request);
      if (!isPassing(outcome)) return outcome;
      await pause(Math.max(pauseMs, askedPauseMs(outcome)));
    }
    return this.#try(url, request);
  }

  #try(url: string, request: EgressInit): Promise<Response | EgressError> {
    return this.#door.fetch(url, request).catch((error: unknown) => {
      if (error instanceof EgressError) return error;
      throw error;
    });
  }

  #recordOf(text: string): UserServiceRecord | null {
    const values = new Map(Object.entries(jsonObject(text)));
    const textOf = (field: Field) => {
      const value = values.get(this.#settings.fields[field]);
      return typeof value === 'string' ? value : '';
    };
    const record = {
      ...{ langflowUserId: textOf('langflowUserId'), username: textOf('username') },
      ...{ password: textOf('password'), apiKey: textOf('apiKey') },
    };
    return record.langflowUserId && record.username && record.password ? record : null;
  }
}

/** In a header, where only visible ASCII goes, and as a part of a path, where dots alone lead elsewhere. */
function isSendable(userId: string): boolean {
  return /^[\x21-\x7e]+$/.test(userId) && userId !== '.' && userId !== '..';
}

/** Whether another try may do better; not once our own door is closed. */
function isPassing(outcome: Response | EgressError): boolean {
  if (outcome instanceof EgressError) return outcome.kind !== 'aborted';
  return outcome.status >= 500 || outcome.status === 429;
}

/** As long as it asks for, as far as we wait for it. */
function askedPauseMs(outcome: Response | EgressError): number {
  const asked = outcome instanceof EgressError ? null : outcome.headers.get('retry-after');
  return Math.min(retryAfterMs(asked, Date.now()) ?? 0, LONGEST_PAUSE_MS);
}

function jsonObject(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // What JSON.parse throws quotes the text, which can hold a password.
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw unavailable(new Error('the user-service answered no JSON object'));
  return value;
}

function unavailable(cause: Error): LatchkeyError {
  return new LatchkeyError('USER_SERVICE_UNAVAILABLE', { retryAfterMs: RETRY_AFTER_MS, cause });
}

function misconfigured(providerError: string, cause?: Error): LatchkeyError {
  return new LatchkeyError('INTEGRATION_MISCONFIGURED', { metadata: { provider_error: providerError }, cause });
}
