import { randomBytes } from 'node:crypto';
import { fieldInvalid } from '../../base/error.ts';
import type { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import { endpointHeadersPlace } from '../../model/event-endpoint.ts';
import type { App, Call } from '../call.ts';
import { isEventType, isTypePrefix } from '../events/event-types.ts';
import { placeEvents } from '../events/place-events.ts';
import { headOf } from '../feeds/event-cursor.ts';
import { isCallersHeader } from '../requests/outgoing-request.ts';
import { checkCondition } from '../webhooks/evaluate-condition.ts';

const SECRET_BYTES = 32;
/** A credential of its own an endpoint may have, for there is no other. */
const CREDENTIALS = ['authorization', 'cookie'];

/** A URL in its normal form. Fails with FIELD_INVALID, ADDRESS_FORBIDDEN. */
export function checkedUrl({ app }: Call, text: string): string {
  const url = URL.parse(text);
  if (!url) throw fieldInvalid('url', 'is no URL');
  if (url.username || url.password) throw fieldInvalid('url', 'holds user information');
  app.egress.refuseForbidden(url);
  // What comes in would go out again, without end.
  if (url.origin === URL.parse(app.publicUrl)?.origin) throw fieldInvalid('url', 'is this service');
  if (url.protocol !== 'https:' && (app.config.production || !app.egress.isNamed(url)))
    throw fieldInvalid('url', 'must be https');
  url.hash = '';
  return url.href;
}

/** Types, or what they begin with before `*`. Fails with FIELD_INVALID where there are no such events. */
export function checkTypes(types: readonly string[]): void {
  const known = (type: string) => (type.endsWith('.*') ? isTypePrefix(type.slice(0, -1)) : isEventType(type));
  const index = types.findIndex((type) => !known(type));
  if (index >= 0) throw fieldInvalid(`event_types.types[${index}]`, 'names no type of event');
}

/** Fails with FIELD_INVALID. */
export function checkFilter(filter: string): void {
  if (filter) checkCondition(filter, ['event'], 'filter');
}

/** Fails with FIELD_INVALID where a header is not the caller's to set. */
export function checkHeaders(headers: ReadonlyMap<string, SecretText>): void {
  const names = [...headers.keys()].map((name) => name.toLowerCase());
  for (const [index, name] of names.entries()) {
    const free = isCallersHeader(name) || CREDENTIALS.includes(name);
    if (!free || name === 'content-type' || name.startsWith('webhook-') || names.indexOf(name) !== index)
      throw fieldInvalid(`headers.headers[${JSON.stringify(name)}]`, 'is not the caller’s to set, or comes twice');
  }
}

/** Headers as they are stored. */
export function sealHeaders(seal: Sealer, tenantId: string, id: string, headers: ReadonlyMap<string, SecretText>) {
  const revealed = Object.fromEntries([...headers].map(([name, value]) => [name, value.reveal()]));
  const plaintext = Buffer.from(JSON.stringify(revealed));
  const sealed = headers.size > 0 ? seal(endpointHeadersPlace(tenantId, id), plaintext) : null;
  return { headers: sealed, headerNames: [...headers.keys()] };
}

/** A secret as Standard Webhooks write it. */
export function newSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`;
}

/** Where a tenant's events end now. Asked before a transaction, so that none waits for a second database connection. */
export async function presentPosition(app: App, tenantId: string): Promise<number> {
  while (await placeEvents(app.pool, true));
  return (await headOf(app, tenantId)).position;
}

/** From now on events of the tenant become deliveries. */
export async function beginFanOut(em: Em, tenantId: string, position: number): Promise<void> {
  await em.execute(
    'insert into latchkey.event_fan_out (tenant_id, position) values (?, ?) on conflict (tenant_id) do nothing',
    [tenantId, position],
  );
}
