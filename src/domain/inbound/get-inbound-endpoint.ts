import type { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { findInboundEndpoint } from './visibility.ts';

/** Answers an endpoint. Fails with INBOUND_ENDPOINT_NOT_FOUND. */
export function getInboundEndpoint(call: Call, id: string): Promise<InboundEndpoint> {
  return read(call, (em) => findInboundEndpoint(em, call, id));
}
