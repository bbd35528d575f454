import type { OutgoingHttpHeaders } from 'node:http';
import type { Asked } from './http.ts';

/** What becomes of one request. */
export type Script = {
  /** Wait until it is released: before the request is looked at, or once its answer is there. */
  hold?: 'before' | 'after';
  /** Cut the connection: before the request is looked at, or in place of the answer. */
  drop?: 'before' | 'after';
  /** Answer this, and do nothing. */
  answer?: { status: number; headers?: OutgoingHttpHeaders; body?: unknown };
};

/** A scripted request: whether it has come, and what lets it go on. */
export type Held = { arrived: Promise<void>; release: () => void };

export type Scripted = Script & { arrived: () => void; released: Promise<void> };

export class Scripts {
  #waiting: { method: string; path: RegExp; scripted: Scripted }[] = [];
  readonly #held = new Set<() => void>();

  add(method: string, path: RegExp, script: Script): Held {
    const arrived = Promise.withResolvers<void>();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const scripted = { ...script, arrived: arrived.resolve, released };
    this.#waiting.push({ method, path, scripted });
    this.#held.add(release);
    return { arrived: arrived.promise, release };
  }

  /** The script of this request, which is used up. */
  take({ method, path }: Asked): Scripted | undefined {
    const found = this.#waiting.find((candidate) => candidate.method === method && candidate.path.test(path));
    this.#waiting = this.#waiting.filter((candidate) => candidate !== found);
    return found?.scripted;
  }

  clear(): void {
    this.#waiting = [];
    for (const release of this.#held) release();
    this.#held.clear();
  }
}
