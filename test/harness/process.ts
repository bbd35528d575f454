import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');

/** `output` is what came on both streams, in its order. */
export type Exit = { code: number | null; signal: NodeJS.Signals | null; output: string; stdout: string };

/** Our server as a process of its own, started as users start it. */
export class ServerProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  grpcPort = 0;
  httpPort = 0;
  #output = '';
  #stdout = '';
  #heard: (() => void)[] = [];

  constructor(
    env: Record<string, string>,
    script = 'src/cli.ts',
    args: string[] = ['serve'],
    command: string[] = [process.execPath],
  ) {
    const clean = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => /^(PATH|HOME|TMPDIR|LANG)$/.test(name)),
    );
    const [program = '', ...before] = command;
    this.child = spawn(program, [...before, script, ...args], {
      cwd: ROOT,
      env: { ...clean, GRPC_PORT: '0', HTTP_PORT: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
        if (stream === this.child.stdout) this.#stdout += chunk.toString();
        for (const hear of [...this.#heard]) hear();
      });
    }
    this.exited = new Promise((done) =>
      this.child.on('close', (code, signal) => {
        // A test that meets a crash sees no more of it than a connection that ends.
        if (this.#output.includes('"unexpected error"')) console.error(this.#output);
        done({ code, signal, output: this.#output, stdout: this.#stdout });
      }),
    );
  }

  /** Starts a server and waits until it is ready; throws what it said where it ends instead. */
  static async ready(env: Record<string, string>, script?: string): Promise<ServerProcess> {
    return new ServerProcess(env, script).ready();
  }

  /** Runs a command of ours beside servers, until it ends. */
  static command(env: Record<string, string>, ...args: string[]): ServerProcess {
    return new ServerProcess(env, 'src/cli.ts', args);
  }

  /** The same as the child of a shell, which signals reach in its place. */
  static async readyInShell(env: Record<string, string>): Promise<ServerProcess> {
    return new ServerProcess(env, `"${process.execPath}" src/cli.ts serve; exit`, [], ['sh', '-c']).ready();
  }

  /** Waits until it is ready; throws what it said where it ends instead. */
  async ready(): Promise<ServerProcess> {
    const { grpcPort, httpPort } = JSON.parse(await this.says(/\{[^\n]*"message":"ready"\}/));
    this.grpcPort = grpcPort;
    this.httpPort = httpPort;
    return this;
  }

  get output(): string {
    return this.#output;
  }

  /** Waits for text in the output. */
  async says(pattern: RegExp): Promise<string> {
    const found = new Promise<string>((done) => {
      const look = () => {
        const match = pattern.exec(this.#output);
        if (!match) return;
        this.#heard.splice(this.#heard.indexOf(look), 1);
        done(match[0]);
      };
      this.#heard.push(look);
      look();
    });
    const ended = this.exited.then(({ code, output }) => {
      throw new Error(`the server ended with ${code}:\n${output}`);
    });
    return Promise.race([found, ended]);
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    if (this.child.exitCode === null) this.child.kill(signal);
    return this.exited;
  }
}

/** A folder of a test's own. */
export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'latchkey-flow-'));
  // PostgreSQL, which does not run as root, must be able to pass.
  chmodSync(path, 0o755);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
