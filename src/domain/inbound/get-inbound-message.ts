import { LatchkeyError } from '../../base/error.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import { InboundMessage, inboundContentPlace } from '../../model/inbound-message.ts';
import { audit, auditRead } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change, read } from '../change.ts';
import { type Content, unpackContent } from './content.ts';
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
  const content = await open(call, id, sealed);
  await auditRead(call, 'inbound_message_read', { type: 'inbound_message', id });
  return { message, content };
}

export function inboundMessageNotFound(id: string): LatchkeyError {
  return new LatchkeyError('INBOUND_MESSAGE_NOT_FOUND', { metadata: { message_id: id } });
}

async function open(call: Call, id: string, sealed: Buffer): Promise<Content> {
  const { app, principal } = call;
  try {
    return unpackContent(await app.keyring.open(inboundContentPlace(principal.tenantId, id), sealed));
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error;
    app.metrics.integrityFailures.inc();
    app.log.error({ err: error, requestId: call.requestId, messageId: id }, 'a stored message does not open');
    await change(call, async (em) => audit(em, call, 'integrity_failure', { type: 'inbound_message', id }));
    throw new LatchkeyError('INTERNAL', { cause: error });
  }
}
