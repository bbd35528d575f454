import type { EventEndpoint } from '../../model/event-endpoint.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { findEndpoint } from './visibility.ts';

/** Answers an endpoint. Fails with EVENT_ENDPOINT_NOT_FOUND. */
export function getEndpoint(call: Call, id: string): Promise<EventEndpoint> {
  return read(call, (em) => findEndpoint(em, call, id));
}
