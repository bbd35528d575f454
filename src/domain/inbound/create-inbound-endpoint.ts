import { fieldInvalid } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import type { SecretText } from '../../base/secret-text.ts';
import type { Em } from '../../db/transaction.ts';
import { InboundEndpoint, type InboundScheme, type InboundVerification } from '../../model/inbound-endpoint.ts';
import { refuseForeignProject } from '../access/projects.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { findConnection } from '../connections/find-connection.ts';
import { refuseUnlessPermitted } from '../connections/visibility.ts';
import { event } from '../events/event.ts';
import { once } from '../once.ts';
import { checkKeptHeaders, checkSecrets, checkVerification } from './check-scheme.ts';
import { checkRetention, flushNamed, sealSigningSecrets } from './endpoint-input.ts';
import { schemeOfProvider } from './scheme.ts';
import { findInboundEndpoint } from './visibility.ts';

/** A verification whose scheme may be the provider's, which null says. */
export type GivenVerification = Omit<InboundVerification, 'scheme'> & { scheme: InboundScheme | null };

export type NewInboundEndpoint = {
  name: string;
  projectId: string | null;
  connectionId: string | null;
  provider: string;
  verification: GivenVerification;
  signingSecrets: readonly SecretText[];
  maxBodyBytes: number;
  maxPerMinute: number;
  /** Undefined: as long as the service keeps them. */
  retentionDays: number | undefined;
  /** In lower case. */
  keepHeaders: string[];
  enabled: boolean;
};

/** Makes an endpoint. Fails with INBOUND_ENDPOINT_NAME_TAKEN, CONNECTION_NOT_FOUND, FIELD_INVALID, REQUEST_ID_REUSED. */
export async function createInboundEndpoint(
  call: Call,
  input: NewInboundEndpoint,
  request: { requestId: string; content: string },
): Promise<InboundEndpoint> {
  const { app, principal } = call;
  const { tenantId } = principal;
  checkRetention(call, input.retentionDays);
  const now = new Date(app.clock.now());
  const id = newId('iep', now.getTime());
  const seal = await app.keyring.sealer(tenantId);
  return change(call, async (em) => {
    const about = await subjectOf(em, call, input);
    refuseUnlessPermitted(principal, 'webhook:manage', about);
    const { keepHeaders, signingSecrets, verification: given, ...fields } = input;
    const verification = completeVerification(given, about.provider);
    checkVerification(verification);
    checkSecrets(verification, signingSecrets);
    checkKeptHeaders(verification, keepHeaders);
    return once(em, call, { method: 'CreateInboundEndpoint', ...request }, id, {
      async make() {
        const endpoint = em.create(InboundEndpoint, {
          ...{ ...fields, ...about, tenantId, id, verification, keepHeaders },
          ...sealSigningSecrets(seal, { tenantId, id, generation: 1 }, signingSecrets),
          ...{ retentionDays: input.retentionDays ?? app.config.retentionDays },
          ...{ version: 1, createTime: now, updateTime: now },
        });
        await flushNamed(em, input.name);
        const resource = { type: 'inbound_endpoint', id };
        audit(em, call, 'inbound_endpoint_created', resource, { after: endpoint.summary() });
        event(em, call, 'inbound_endpoint.created', endpoint.aggregate(), endpoint.summary());
        return endpoint;
      },
      repeat: (made) => findInboundEndpoint(em, call, made),
    });
  });
}

/** What an endpoint is about: where it has a connection, that says the project, the owner and the provider. */
async function subjectOf(em: Em, call: Call, { connectionId, projectId, provider }: NewInboundEndpoint) {
  refuseForeignProject(call.principal, projectId);
  if (!connectionId) return { projectId, provider, ownerUserId: null };
  const connection = await findConnection(em, call, connectionId, 'connection:read');
  if (projectId !== null && projectId !== connection.projectId)
    throw fieldInvalid('project_id', 'differs from that of the connection');
  if (provider && provider !== connection.provider)
    throw fieldInvalid('provider', 'differs from that of the connection');
  return {
    projectId: connection.projectId,
    provider: connection.provider,
    ownerUserId: connection.ownerUserId,
  };
}

/** The same with a scheme: that of the provider, where none is given. */
export function completeVerification(given: GivenVerification, provider: string): InboundVerification {
  return { ...given, scheme: given.scheme ?? schemeOfProvider(provider) };
}
