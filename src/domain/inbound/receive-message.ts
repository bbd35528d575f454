import { newId } from '../../base/id.ts';
import { storableText } from '../../base/storable-text.ts';
import { hot } from '../../db/hot.ts';
import { inboundContentPlace } from '../../model/inbound-message.ts';
import { systemCall } from '../access/principal.ts';
import { auditRead } from '../audit/audit.ts';
import type { App, ReadyInboundEndpoint } from '../call.ts';
import { packContent } from './content.ts';
import { type Arrived, type RefusalCause, verifyMessage } from './verify-message.ts';

/** What became of a message. */
export type Reception =
  /** It is stored: now, or it was before. */
  | { outcome: 'stored' | 'repeat'; messageId: string }
  /** Slack asks whether the endpoint is ours: the answer to give. Nothing is stored. */
  | { outcome: 'challenge'; answer: string }
  | { outcome: 'unverified'; cause: RefusalCause }
  | { outcome: 'rate_limited'; retryAfterMs: number }
  /** The endpoint was deleted or disabled a moment ago. */
  | { outcome: 'unknown' };

const DAY_MS = 24 * 3_600_000;
const LONGEST_HEADER = 4_096;
const LONGEST_CHALLENGE = 1_000;

/** Verifies a message, and stores it with its event in one transaction. Whoever sends it again finds it stored. */
export async function receiveMessage(
  app: App,
  endpoint: ReadyInboundEndpoint,
  arrived: Arrived,
  address: string,
): Promise<Reception> {
  const { tenantId, id: endpointId, rules } = endpoint;
  const now = app.clock.now();
  const verdict = verifyMessage(rules, endpoint.secrets, arrived, now);
  if (!verdict.good) {
    recordRefusal(app, endpoint, verdict.cause, address);
    return { outcome: 'unverified', cause: verdict.cause };
  }
  // Counted once it is verified: who cannot sign uses nothing up.
  const waitMs = app.inbound.rates.take(endpointId, endpoint.maxPerMinute);
  if (waitMs > 0) return { outcome: 'rate_limited', retryAfterMs: waitMs };
  const answer = rules.answersUrlVerification ? challengeIn(arrived.body) : null;
  if (answer !== null) return { outcome: 'challenge', answer };
  const id = newId('imsg', now);
  const message = {
    ...{ id, endpointId, eventId: newId('evt', now), senderId: verdict.senderId, bodyBytes: arrived.body.length },
    contentType: storableText(arrived.headers.get('content-type')?.[0] ?? '', 255),
    receiveTime: new Date(now).toISOString(),
    expireTime: new Date(now + endpoint.retentionDays * DAY_MS).toISOString(),
  };
  const seal = await app.keyring.sealer(tenantId);
  const packed = packContent({ headers: keptHeaders(endpoint, arrived), body: arrived.body });
  const content = seal(inboundContentPlace(tenantId, id), packed);
  const [row] = await hot<{ outcome: 'stored' | 'repeat' | 'unknown'; message_id: string }>(
    app.pool,
    'receiveInboundMessage',
    [tenantId, JSON.stringify(message), verdict.repeatKey, content],
  );
  const { outcome, message_id: messageId } = row!;
  return outcome === 'unknown' ? { outcome } : { outcome, messageId };
}

function keptHeaders({ keepHeaders }: ReadyInboundEndpoint, { headers }: Arrived): Record<string, string> {
  const kept = keepHeaders.flatMap((name) => {
    const values = headers.get(name);
    return values ? [[name, values.join(', ').slice(0, LONGEST_HEADER)]] : [];
  });
  return Object.fromEntries(kept);
}

/** https://docs.slack.dev/reference/events/url_verification; null for every other message. */
function challengeIn(body: Buffer): string | null {
  if (!body.includes('url_verification')) return null;
  try {
    const { type, challenge } = JSON.parse(body.toString());
    const asked = type === 'url_verification' && typeof challenge === 'string';
    return asked && challenge.length <= LONGEST_CHALLENGE && /^[\x21-\x7e]+$/.test(challenge) ? challenge : null;
  } catch {
    return null;
  }
}

/** At most once a minute and endpoint: senders that cannot sign may come in floods. The message is refused in any case. */
function recordRefusal(app: App, { tenantId, id }: ReadyInboundEndpoint, cause: RefusalCause, address: string): void {
  const { refusals } = app.inbound;
  if (refusals.has(id)) return;
  refusals.add(id);
  app.log.warn({ tenant: tenantId, endpointId: id, cause, address }, 'an inbound message was not verified');
  const unrecorded = (error: unknown) => app.log.error({ err: error }, 'a refused message was not recorded');
  try {
    const call = { ...systemCall(app, tenantId), address };
    auditRead(call, 'inbound_message_refused', { type: 'inbound_endpoint', id })?.catch(unrecorded);
  } catch (error) {
    unrecorded(error);
  }
}
