import { isUtf8 } from 'node:buffer';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { InboundMessage, inboundContentPlace } from '../../model/inbound-message.ts';
import type { JsonObject } from '../../model/json.ts';
import type { App } from '../call.ts';
import { changeIn } from '../change.ts';
import { unpackContent } from '../inbound/content.ts';

const MOST_BODY_BYTES = 256 * 1024;

/** What a third party sent: `headers`, and `body` with its encoding; or why not. */
export async function inboundContent(app: App, tenantId: string, id: string): Promise<JsonObject> {
  const message = await changeIn(app, tenantId, async (em) => {
    const found = await em.findOne(InboundMessage, { tenantId, id });
    // Large ones are not read at all.
    if (found && found.bodyBytes <= MOST_BODY_BYTES) await em.populate(found, ['content']);
    return found;
  });
  if (!message) return { omitted: 'not_kept' };
  if (message.bodyBytes > MOST_BODY_BYTES) return { omitted: 'too_large' };
  try {
    const sealed = message.content as Buffer;
    const { headers, body } = unpackContent(await app.keyring.open(inboundContentPlace(tenantId, id), sealed));
    const encoding = isUtf8(body) ? 'utf8' : 'base64';
    return { headers, body: body.toString(encoding), body_encoding: encoding };
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error;
    app.metrics.integrityFailures.inc();
    app.log.error({ err: error, messageId: id }, 'a stored message does not open');
    return { omitted: 'not_kept' };
  }
}
