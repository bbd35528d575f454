import { defineEntity, p } from '@mikro-orm/core';

/** What a create call with a `request_id` made, so that a repeat answers the same. Remembered for 24 hours. */
const schema = defineEntity({
  name: 'RequestMemo',
  tableName: 'request_memo',
  properties: {
    tenantId: p.text().primary(),
    caller: p.text().primary(),
    method: p.text().primary(),
    requestId: p.text().primary(),
    requestHash: p.blob(),
    resourceId: p.text(),
    createTime: p.datetime(),
  },
});

export class RequestMemo extends schema.class {}
schema.setClass(RequestMemo);
