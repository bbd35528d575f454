import { LatchkeyError } from '../../base/error.ts';
import { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import { InboundMessage, inboundContentPlace } from '../../model/inbound-message.ts';
import { auditRead } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { type Content, unpackContent } from './content.ts';
import { noteIntegrityFailure } from './integrity-failure.ts';
import { canSee } from './visibility.ts';

/** Answers a message as it was sent. Fails with INBOUND_MESSAGE_NOT_FOUND, AUDIT_UNAVAILABLE. */
export async function getInboundMessage(
  call: Call,
  id: string,
): Promise<{ message: InboundMessage; content: Content }> {
  const { tenantId } = call.principal;
  const { message, sealed } = await read(call, async (em) => {
    const found = await em.findOne(InboundMessage, { tenantId, id }, { populate: ['content'] });
    const endpoint = found && (await em.findOne(InboundEndpoint, { tenantId, id: found.endpointId }));
    if (!found || !endpoint || !canSee(call.principal, endpoint)) throw inboundMessageNotFound(id);
    return { message: found, sealed: found.content as Buffer };
  });
  const resource = { type: 'inbound_message', id };
  const content = await noteIntegrityFailure(call, resource, async () =>
    unpackContent(await call.app.keyring.open(inboundContentPlace(tenantId, id), sealed)),
  );
  await auditRead(call, 'inbound_message_read', resource);
  return { message, content };
}

export function inboundMessageNotFound(id: string): LatchkeyError {
  return new LatchkeyError('INBOUND_MESSAGE_NOT_FOUND', { metadata: { message_id: id } });
}
