import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const ROOT = resolve(import.meta.dirname, '../..');
/** As `npm start` sets them; the baseline gets the same. */
const FLAGS = ['--disable-sigusr1', '--max-semi-space-size=32'];
const READY = /\{[^\n]*"message":"ready"\}/;

/** A server of a bench as a process of its own. It logs each call, as in production, into a file, so that the load has no part in it. */
export class BenchProcess {
  readonly grpcPort: number;
  readonly httpPort: number;
  /** All that it listens on, where it says so. */
  readonly ports: readonly number[];
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, ready: { grpcPort: number; httpPort: number; ports?: number[] }) {
    this.#child = child;
    this.grpcPort = ready.grpcPort;
    this.httpPort = ready.httpPort;
    this.ports = ready.ports ?? [];
  }

  static async ready(script: string | string[], env: Record<string, string>): Promise<BenchProcess> {
    const path = join(mkdtempSync(join(tmpdir(), 'latchkey-bench-log-')), 'log');
    const log = openSync(path, 'a');
    const { PATH = '', HOME = '' } = process.env;
    const child = spawn(process.execPath, [...FLAGS, ...[script].flat()], {
      cwd: ROOT,
      env: { PATH, HOME, GRPC_PORT: '0', HTTP_PORT: '0', ...env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    while (child.exitCode === null) {
      const line = READY.exec(readFileSync(path, 'utf8'))?.[0];
      if (line) return new BenchProcess(child, JSON.parse(line));
      await pause(50);
    }
    throw new Error(`${[script].flat().join(' ')} did not start:\n${readFileSync(path, 'utf8')}`);
  }

  /** Resident memory in MB. */
  rssMb(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
  }
}
