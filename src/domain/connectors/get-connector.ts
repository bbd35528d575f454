import type { Connector } from '../../model/connector.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { findConnector } from './visibility.ts';

/** Answers a connector. Fails with CONNECTOR_NOT_FOUND. */
export function getConnector(call: Call, id: string): Promise<Connector> {
  return read(call, (em) => findConnector(em, call, id));
}
