import { fieldInvalid } from '../../base/error.ts';
import type { SecretText } from '../../base/secret-text.ts';
import type { EventEndpoint } from '../../model/event-endpoint.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { audienceOf, refuseUnlessCovers } from './audience.ts';
import { checkedUrl, checkFilter, checkHeaders, checkTypes, presentPosition, sealHeaders } from './endpoint-input.ts';
import { lockEndpoint } from './visibility.ts';

/** Undefined: unchanged. */
export type EndpointPatch = {
  url: string | undefined;
  description: string | undefined;
  eventTypes: string[] | undefined;
  filter: string | undefined;
  includeInboundContent: boolean | undefined;
  headers: ReadonlyMap<string, SecretText> | undefined;
  enabled: boolean | undefined;
};

/**
 * Changes what the patch sets. Who sets the URL decides where events go: from then on those go there that they may see. It takes to see all that the endpoint is told to change its URL, types or filter.
 * Fails with EVENT_ENDPOINT_NOT_FOUND, EVENT_ENDPOINT_AUDIENCE_WIDER, FIELD_INVALID, ADDRESS_FORBIDDEN, PERMISSION_MISSING, ETAG_MISMATCH.
 */
export async function updateEndpoint(
  call: Call,
  id: string,
  etag: string,
  patch: EndpointPatch,
): Promise<EventEndpoint> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const { url: givenUrl, headers, enabled, ...fields } = patch;
  const url = givenUrl === undefined ? undefined : checkedUrl(call, givenUrl);
  checkTypes(patch.eventTypes ?? []);
  checkFilter(patch.filter ?? '');
  if (headers) checkHeaders(headers);
  const position = enabled ? await presentPosition(app, tenantId) : 0;
  const seal = await app.keyring.sealer(tenantId);
  return change(call, async (em) => {
    const endpoint = await lockEndpoint(em, call, id, etag);
    const before = endpoint.summary();
    const more = fields.eventTypes || fields.filter !== undefined || fields.includeInboundContent;
    if (url !== undefined || headers || more) refuseUnlessCovers(audienceOf(principal), endpoint);
    if (url !== undefined) move(endpoint, url, headers !== undefined);
    if (url !== undefined) endpoint.audience = audienceOf(principal);
    const set = Object.entries(fields).filter(([, value]) => value !== undefined);
    em.assign(endpoint, Object.fromEntries(set));
    if (headers) em.assign(endpoint, sealHeaders(seal, tenantId, id, headers));
    if (enabled === true && !endpoint.enabled) endpoint.enable(position);
    if (enabled === false && endpoint.enabled) endpoint.disable('caller');
    endpoint.changed(new Date(app.clock.now()));
    const after = endpoint.summary();
    audit(em, call, 'event_endpoint_updated', { type: 'event_endpoint', id }, { before, after });
    event(em, call, 'event_endpoint.updated', endpoint.aggregate(), after);
    return endpoint;
  });
}

/** What was given for one origin goes to no other, and how the one place did says nothing of another. Fails with FIELD_INVALID. */
function move(endpoint: EventEndpoint, url: string, newHeaders: boolean): void {
  const elsewhere = new URL(url).origin !== new URL(endpoint.url).origin;
  if (elsewhere && endpoint.headerNames.length > 0 && !newHeaders)
    throw fieldInvalid('headers', 'is required with a URL at another origin');
  if (url !== endpoint.url) Object.assign(endpoint, { url, failingSince: null, failedTime: null });
}
