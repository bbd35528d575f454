/** Wakes who waits for a key. A hint alone: who waits looks for itself when it is woken. */
export class Signals {
  readonly #waiting = new Map<string, Set<() => void>>();

  /** Resolves when the key is fired, after `timeoutMs`, or when the signal aborts. */
  wait(key: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((done) => {
      const wake = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        const waiting = this.#waiting.get(key);
        waiting?.delete(wake);
        if (waiting?.size === 0) this.#waiting.delete(key);
        done();
      };
      const timer = setTimeout(wake, timeoutMs);
      signal.addEventListener('abort', wake);
      const waiting = this.#waiting.get(key) ?? new Set();
      this.#waiting.set(key, waiting.add(wake));
      if (signal.aborted) wake();
    });
  }

  fire(key: string): void {
    for (const wake of [...(this.#waiting.get(key) ?? [])]) wake();
  }
}
