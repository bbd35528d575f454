import { LatchkeyError } from '../../base/error.ts';
import { brokenUniqueConstraint } from '../../db/errors.ts';
import type { Em } from '../../db/transaction.ts';
import type { JsonObject } from '../../model/json.ts';
import type { Call } from '../call.ts';
import { findConnection } from '../connections/find-connection.ts';
import type { ConnectorType } from './connector-type.ts';

/** Refuses a config with a connection that the caller may not use: others would use it as the caller says. Fails with CONNECTION_NOT_FOUND, PERMISSION_MISSING. */
export async function refuseUnknownConnections(
  em: Em,
  call: Call,
  { settings }: ConnectorType,
  config: JsonObject,
): Promise<void> {
  for (const { name, connection } of settings) {
    const id = config[name];
    if (connection && typeof id === 'string' && !id.includes('{{'))
      await findConnection(em, call, id, 'connection:use');
  }
}

/** Writes a connector whose name may be taken. Fails with CONNECTOR_NAME_TAKEN. */
export async function flushNamed(em: Em, name: string): Promise<void> {
  try {
    await em.flush();
  } catch (error) {
    if (brokenUniqueConstraint(error) !== 'connector_name') throw error;
    throw new LatchkeyError('CONNECTOR_NAME_TAKEN', { metadata: { name } });
  }
}
