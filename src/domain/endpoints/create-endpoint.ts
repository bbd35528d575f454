import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { SecretText } from '../../base/secret-text.ts';
import type { Em } from '../../db/transaction.ts';
import { EventEndpoint, endpointSecretPlace } from '../../model/event-endpoint.ts';
import { refuseForeignProject } from '../access/projects.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { refuseUnlessPermitted } from '../connections/visibility.ts';
import { event } from '../events/event.ts';
import { once } from '../once.ts';
import { audienceOf } from './audience.ts';
import {
  beginFanOut,
  checkedUrl,
  checkFilter,
  checkHeaders,
  checkTypes,
  newSecret,
  presentPosition,
  sealHeaders,
} from './endpoint-input.ts';
import { findEndpoint } from './visibility.ts';

const MOST_OF_TENANT = 50;

export type NewEndpoint = {
  url: string;
  description: string;
  projectId: string | null;
  /** Empty: all. */
  eventTypes: string[];
  filter: string;
  includeInboundContent: boolean;
  headers: ReadonlyMap<string, SecretText>;
  enabled: boolean;
};
/** `secret` is null where the endpoint was made before, by the same request. */
export type CreatedEndpoint = { endpoint: EventEndpoint; secret: SecretText | null };

/**
 * Makes an endpoint that is sent what happens from now on, as far as the caller may see it.
 * Fails with FIELD_INVALID, ADDRESS_FORBIDDEN, PERMISSION_MISSING, EVENT_ENDPOINT_LIMIT_REACHED, REQUEST_ID_REUSED.
 */
export async function createEndpoint(
  call: Call,
  input: NewEndpoint,
  request: { requestId: string; content: string },
): Promise<CreatedEndpoint> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const { headers, enabled, ...fields } = input;
  refuseForeignProject(principal, input.projectId);
  refuseUnlessPermitted(principal, 'webhook:manage', { ownerUserId: null, projectId: input.projectId });
  const audience = audienceOf(principal);
  const url = checkedUrl(call, input.url);
  checkTypes(input.eventTypes);
  checkFilter(input.filter);
  checkHeaders(headers);
  const startPosition = await presentPosition(app, tenantId);
  const seal = await app.keyring.sealer(tenantId);
  const now = new Date(app.clock.now());
  const id = newId('eep', now.getTime());
  const secret = newSecret();
  return change(call, (em) =>
    once<CreatedEndpoint>(em, call, { method: 'CreateEndpoint', ...request }, id, {
      async make() {
        await beginFanOut(em, tenantId, startPosition);
        await refuseTooMany(em, tenantId);
        const endpoint = em.create(EventEndpoint, {
          ...{ ...fields, tenantId, id, url, audience, enabled, startPosition },
          ...sealHeaders(seal, tenantId, id, headers),
          ...{ secret: seal(endpointSecretPlace(tenantId, id, 1), Buffer.from(secret)), secretGeneration: 1 },
          ...{ previousSecret: null, previousSecretExpireTime: null, disabledReason: enabled ? '' : 'caller' },
          ...{ failingSince: null, failedTime: null, version: 1, createTime: now, updateTime: now },
        });
        audit(em, call, 'event_endpoint_created', { type: 'event_endpoint', id }, { after: endpoint.summary() });
        event(em, call, 'event_endpoint.created', endpoint.aggregate(), endpoint.summary());
        return { endpoint, secret: new SecretText(secret) };
      },
      repeat: async (made) => ({ endpoint: await findEndpoint(em, call, made), secret: null }),
    }),
  );
}

/** Who makes one waits for who makes another. Fails with EVENT_ENDPOINT_LIMIT_REACHED. */
async function refuseTooMany(em: Em, tenantId: string): Promise<void> {
  await em.execute('select from latchkey.event_fan_out where tenant_id = ? for update', [tenantId]);
  if ((await em.count(EventEndpoint, { tenantId })) < MOST_OF_TENANT) return;
  throw new LatchkeyError('EVENT_ENDPOINT_LIMIT_REACHED', { metadata: { limit: String(MOST_OF_TENANT) } });
}
