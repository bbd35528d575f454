import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';

/** A message that a third party sent. */
const schema = defineEntity({
  name: 'InboundMessage',
  tableName: 'inbound_message',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    endpointId: p.text(),
    senderId: p.text(),
    contentType: p.text(),
    bodyBytes: p.integer(),
    /** Headers and body, sealed together. */
    content: p.blob().lazy(),
    replayCount: p.integer(),
    lastReplayTime: p.datetime().strictNullable(),
    receiveTime: p.datetime(),
    expireTime: p.datetime(),
  },
});

export class InboundMessage extends schema.class {}
schema.setClass(InboundMessage);

/** Where a message's headers and body are sealed for. */
export function inboundContentPlace(tenantId: string, messageId: string): Place {
  return { tenantId, table: 'inbound_message', column: 'content', rowId: messageId, generation: 0 };
}
