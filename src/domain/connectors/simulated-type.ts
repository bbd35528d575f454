import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { Connector } from '../../model/connector.ts';
import { ConnectorState } from '../../model/connector-state.ts';
import type { JsonObject, JsonValue } from '../../model/json.ts';
import type { Command, ConnectorResult, ConnectorType, Input } from './connector-type.ts';

const MOST_STATE_BYTES = 256 * 1024;

/** What a command of a simulated system did; `state`: what is in the system from then on. */
export type SimulatedResult<State> = ConnectorResult & { state?: State };

export type SimulatedCommand<State> = Command & {
  /** Whether it may change what is in the system: one such command runs after the other. */
  changes?: true;
  run(state: State, inputs: JsonObject, now: Date): SimulatedResult<State> | Promise<SimulatedResult<State>>;
};

type Simulation<State> = Pick<ConnectorType, 'name' | 'displayName' | 'description' | 'defaultCommand'> & {
  /** What is in the system at first, and after `reset`. */
  seed(now: Date): State | Promise<State>;
  commands: readonly SimulatedCommand<State>[];
};

const SIMULATE_FAILURE: Input = {
  name: 'simulateFailure',
  types: ['boolean', 'string'],
  description: 'Fail without doing anything: true with a message of the connector, a text with this message.',
  default: false,
};

/** A type whose instances simulate a system. What is in it is kept by instance in the database, and changed by its own commands alone. */
export function simulatedType<State extends JsonObject>(simulation: Simulation<State>): ConnectorType {
  const { name, seed, ...told } = simulation;
  const reset: SimulatedCommand<State> = {
    ...{ name: 'reset', description: 'Makes everything what it was at first.', inputs: [], changes: true },
    run: async (_, __, now) => ({ success: true, data: { reset: true }, state: await seed(now) }),
  };
  const commands = new Map([...simulation.commands, reset].map((command) => [command.name, command]));
  return {
    ...{ ...told, name, version: '1.0.0', executionModel: 'built_in', settings: [SIMULATE_FAILURE] },
    commands: [...commands.values()],
    initialState: async (now) => seed(now),
    instead({ simulateFailure }) {
      const error = simulatedFailure(name, simulateFailure);
      return error ? { success: false, error } : null;
    },
    execute({ call, connector, command, inputs, recorded }) {
      const { run, changes = false } = commands.get(command)!;
      const now = new Date(call.app.clock.now());
      return recorded(async (em) => {
        const stored = await stateOf(em, connector, changes);
        const { state, ...result } = await run(stored.state as State, inputs, now);
        if (state && Buffer.byteLength(JSON.stringify(state)) > MOST_STATE_BYTES)
          return { success: false, error: `the simulated system holds at most ${MOST_STATE_BYTES} bytes` };
        if (state) Object.assign(stored, { state, updateTime: now });
        return result;
      });
    },
  };
}

function simulatedFailure(type: string, value: JsonValue | undefined): string {
  if (value === true) return `Simulated failure (${type} connector)`;
  return typeof value === 'string' ? value : '';
}

/** It is gone where the connector was deleted a moment ago. */
async function stateOf(em: Em, { tenantId, id }: Connector, locked: boolean): Promise<ConnectorState> {
  const options = locked ? { lockMode: LockMode.PESSIMISTIC_WRITE as const } : {};
  const stored = await em.findOne(ConnectorState, { tenantId, connectorId: id }, options);
  if (!stored) throw new LatchkeyError('CONNECTOR_NOT_FOUND', { metadata: { connector_id: id } });
  return stored;
}
