import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { JsonObject } from '../../model/json.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { isAnswerable } from './answerable.ts';
import type { CheckedValues } from './check-values.ts';
import type { ConnectorContext, ConnectorResult, ConnectorType } from './connector-type.ts';

type Kept = 'call' | 'connector' | 'command' | 'variables' | 'stepId' | 'instanceId';
export type Executed = Required<ConnectorResult> & { command: string; durationMs: number };

/**
 * Executes a command, and records that: with what it changes where it changes something of ours, else when it is over, however it ends.
 * @param action what the audit log calls it
 */
export async function runCommand(
  action: string,
  type: ConnectorType,
  { values, ...execution }: Pick<ConnectorContext, Kept> & { values: CheckedValues },
): Promise<Executed> {
  const { call, connector, command, stepId, instanceId } = execution;
  const { config, inputs, instead } = values;
  const { clock } = call.app;
  const startedAt = clock.monotonic();
  let isRecorded = false;
  const record = (em: Em, outcome: JsonObject) => {
    const told = { type: type.name, command, step_id: stepId, instance_id: instanceId };
    const duration = { duration_ms: Math.round(clock.monotonic() - startedAt) };
    audit(em, call, action, { type: 'connector', id: connector.id }, { after: { ...told, ...outcome, ...duration } });
  };
  const recorded: ConnectorContext['recorded'] = async (work) => {
    const result = await change(call, async (em) => {
      const done = await work(em);
      record(em, { success: done.success });
      return done;
    });
    isRecorded = true;
    return result;
  };
  try {
    const {
      success,
      data = {},
      error = '',
    } = bounded(instead ?? (await type.execute({ ...execution, config, inputs, recorded })));
    if (!isRecorded) await change(call, async (em) => record(em, { success }));
    return { success, data, error, command, durationMs: clock.monotonic() - startedAt };
  } catch (error) {
    if (!isRecorded) await change(call, async (em) => record(em, { success: false, reason: reasonOf(call, error) }));
    throw error;
  }
}

function reasonOf({ signal }: Call, error: unknown): string {
  const known = [signal.reason, error].find((cause) => cause instanceof LatchkeyError);
  return known?.reason ?? 'INTERNAL';
}

function bounded(result: ConnectorResult): ConnectorResult {
  if (isAnswerable(result.data ?? {})) return result;
  return { success: false, error: 'the data is too large, or nested too deeply' };
}
