import { setTimeout as sleep } from 'node:timers/promises';
import { fieldInvalid, LatchkeyError } from '../../../base/error.ts';
import { at } from '../check-values.ts';
import type { ConnectorType } from '../connector-type.ts';

const LONGEST_MS = 3_600_000;

/** Waits, for as long as a call may take at most. */
export const delay: ConnectorType = {
  ...{ name: 'delay', version: '1.0.0', executionModel: 'built_in', displayName: 'Delay' },
  description: 'Waits for some time, within the time of the call.',
  defaultCommand: 'wait',
  settings: [],
  commands: [
    { name: 'test', description: 'Has nothing to try, and always succeeds.', inputs: [] },
    {
      name: 'wait',
      description: 'Waits.',
      inputs: [
        {
          ...{ name: 'durationMs', types: ['integer'], required: true, minimum: 0, maximum: LONGEST_MS },
          description: 'For how many milliseconds; less than a call may take, which is a minute by default.',
        },
      ],
    },
  ],
  async execute({ call, command, inputs }) {
    if (command === 'test') return { success: true };
    const { clock, config } = call.app;
    const { durationMs } = inputs as { durationMs: number };
    if (durationMs >= config.maxCallMs)
      throw fieldInvalid(at('inputs', 'durationMs'), `must be less than ${config.maxCallMs}, which a call may take`);
    const startedAt = clock.monotonic();
    // Timers may fire a moment early.
    for (let leftMs = durationMs; leftMs > 0; leftMs = durationMs - (clock.monotonic() - startedAt))
      await pause(leftMs, call.signal);
    return { success: true, data: { waitedMs: Math.round(clock.monotonic() - startedAt) } };
  },
};

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (cause) {
    throw new LatchkeyError('CANCELLED', { cause });
  }
}
