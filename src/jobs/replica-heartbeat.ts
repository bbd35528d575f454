import type { Pool } from 'pg';
import { StartError } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import type { MasterKeys } from '../crypto/master-keys.ts';
import { openInstallation } from '../db/installation.ts';
import { forgetReplica, HEARTBEAT_MS, reportReplica } from '../db/replicas.ts';

/**
 * Says every 5 s that this replica lives and which master keys it knows. A replica that slept through a rotation finds that its key no longer opens
 * the installation: then `unfit` is called, and it must end.
 */
export class ReplicaHeartbeat {
  readonly #id: string;
  readonly #pool: Pool;
  readonly #keys: MasterKeys;
  readonly #log: Log;
  readonly #unfit: (error: StartError) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(id: string, pool: Pool, keys: MasterKeys, log: Log, unfit: (error: StartError) => void) {
    this.#id = id;
    this.#pool = pool;
    this.#keys = keys;
    this.#log = log;
    this.#unfit = unfit;
  }

  async start(): Promise<void> {
    await this.#report();
    this.#timer = setInterval(() => void this.#beat(), HEARTBEAT_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await forgetReplica(this.#pool, this.#id).catch(() => {});
  }

  async #beat(): Promise<void> {
    try {
      await this.#report();
      await openInstallation(this.#pool, this.#keys);
    } catch (error) {
      if (error instanceof StartError) this.#unfit(error);
      else this.#log.warn({ err: error }, 'the heartbeat was not written');
    }
  }

  #report(): Promise<void> {
    return reportReplica(
      this.#pool,
      this.#id,
      this.#keys.all.map((key) => key.name),
    );
  }
}
