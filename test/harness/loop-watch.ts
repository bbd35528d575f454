import { writeSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/**
 * Loaded ahead of a server (`--import`): says on standard error at its end how long a turn of its event loop took at most since SIGUSR2. `delayMs` is by
 * the clock; `busyMs` is the processor time of the thread in the longest turn, which other processes cannot lengthen.
 */
const TICK_MS = 10;

const delay = monitorEventLoopDelay({ resolution: TICK_MS });
delay.enable();
let before = process.threadCpuUsage();
let busyMs = 0;

setInterval(() => {
  const { user, system } = process.threadCpuUsage(before);
  before = process.threadCpuUsage();
  busyMs = Math.max(busyMs, (user + system) / 1000);
}, TICK_MS).unref();

process.on('SIGUSR2', () => {
  delay.reset();
  busyMs = 0;
});
process.on('exit', () => {
  writeSync(
    2,
    `longest turn ${JSON.stringify({ delayMs: Math.round(delay.max / 1e6), busyMs: Math.round(busyMs) })}\n`,
  );
});
