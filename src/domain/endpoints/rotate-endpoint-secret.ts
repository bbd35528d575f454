import { SecretText } from '../../base/secret-text.ts';
import { type EventEndpoint, endpointSecretPlace } from '../../model/event-endpoint.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { audienceOf, refuseUnlessCovers } from './audience.ts';
import { newSecret } from './endpoint-input.ts';
import { lockEndpoint } from './visibility.ts';

const DAY_S = 86_400;

/**
 * Gives an endpoint a new secret; the one before signs, too, for `overlapS`, by default a day. Of more than two the oldest ends at once.
 * Fails with EVENT_ENDPOINT_NOT_FOUND, ETAG_MISMATCH, EVENT_ENDPOINT_AUDIENCE_WIDER, PERMISSION_MISSING (`event:read`).
 */
export async function rotateEndpointSecret(
  call: Call,
  id: string,
  etag: string,
  overlapS: number = DAY_S,
): Promise<{ endpoint: EventEndpoint; secret: SecretText }> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const seal = await app.keyring.sealer(tenantId);
  const secret = newSecret();
  return change(call, async (em) => {
    const endpoint = await lockEndpoint(em, call, id, etag);
    // Whoever has the secret can say what the endpoint believes.
    refuseUnlessCovers(audienceOf(principal), endpoint);
    const before = endpoint.summary();
    const now = app.clock.now();
    const place = endpointSecretPlace(tenantId, id, endpoint.secretGeneration + 1);
    endpoint.rotate(seal(place, Buffer.from(secret)), overlapS > 0 ? new Date(now + overlapS * 1_000) : null);
    endpoint.changed(new Date(now));
    const after = { ...endpoint.summary(), overlap_s: overlapS };
    audit(em, call, 'event_endpoint_secret_rotated', { type: 'event_endpoint', id }, { before, after });
    event(em, call, 'event_endpoint.updated', endpoint.aggregate(), endpoint.summary());
    return { endpoint, secret: new SecretText(secret) };
  });
}
