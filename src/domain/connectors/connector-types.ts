import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import type { Command, ConnectorType } from './connector-type.ts';
import { authifi } from './types/authifi.ts';
import { delay } from './types/delay.ts';
import { http } from './types/http.ts';
import { testActiveDirectory } from './types/test-activedirectory.ts';
import { testDb } from './types/test-db.ts';
import { testLdap } from './types/test-ldap.ts';

/** All types of connectors. */
export const connectorTypes: readonly ConnectorType[] = [authifi, delay, http, testActiveDirectory, testDb, testLdap];

const BY_NAME = new Map(connectorTypes.map((type) => [type.name, type]));

/** Fails with CONNECTOR_TYPE_NOT_FOUND. */
export function connectorType(name: string): ConnectorType {
  const type = BY_NAME.get(name);
  if (!type) throw new LatchkeyError('CONNECTOR_TYPE_NOT_FOUND', { metadata: { type: name } });
  return type;
}

/** Fails with FIELD_INVALID. */
export function commandOf(type: ConnectorType, name: string): Command {
  const command = type.commands.find((known) => known.name === name);
  if (!command) throw fieldInvalid('command', `is none of ${type.commands.map((known) => known.name).join(', ')}`);
  return command;
}
