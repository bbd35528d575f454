import { fieldInvalid } from '../../base/error.ts';
import { isPointer } from '../../base/json-pointer.ts';
import type { SecretText } from '../../base/secret-text.ts';
import type { InboundVerification, SignatureDescription } from '../../model/inbound-endpoint.ts';
import type { InboundRules } from '../call.ts';
import { rulesOf } from './scheme.ts';
import { keyOf } from './verify-message.ts';

/** Headers with credentials of others than the sender. */
const NEVER_KEPT = new Set(['authorization', 'cookie', 'proxy-authorization']);

/** Fails with FIELD_INVALID where a verification contradicts itself, or cannot protect what it says it does. */
export function checkVerification(given: InboundVerification): void {
  const { scheme, signature, tokenHeader, tokenPrefix, idPointer } = given;
  if ((scheme === 'CUSTOM') !== (signature !== null))
    throw fieldInvalid('verification.signature', 'goes with INBOUND_SCHEME_CUSTOM, and is required there');
  if (scheme !== 'TOKEN' && (tokenHeader || tokenPrefix))
    throw fieldInvalid('verification.token_header', 'goes with INBOUND_SCHEME_TOKEN alone');
  if (!isPointer(idPointer)) throw fieldInvalid('verification.id_pointer', 'is no JSON pointer');
  if (signature) checkDescription(signature, rulesOf(given));
}

function checkDescription(signature: SignatureDescription, { idHeader }: InboundRules): void {
  const { signatureHeader, timestampHeader, timestampPrefix, signedContent, separator } = signature;
  const at = 'verification.signature';
  if (!signatureHeader) throw fieldInvalid(`${at}.signature_header`, 'is required');
  const placeholders: string[] = signedContent.match(/\{[^}]*\}/g) ?? [];
  const unknown = placeholders.find((name) => !['{id}', '{timestamp}', '{body}'].includes(name));
  if (unknown) throw fieldInvalid(`${at}.signed_content`, 'knows {id}, {timestamp} and {body} alone');
  if (placeholders.filter((name) => name === '{body}').length !== 1)
    throw fieldInvalid(`${at}.signed_content`, 'must have {body} once');
  if (timestampHeader && timestampPrefix) throw fieldInvalid(`${at}.timestamp_prefix`, 'goes without timestamp_header');
  if (timestampPrefix && !separator) throw fieldInvalid(`${at}.separator`, 'is required with timestamp_prefix');
  const timed = timestampHeader !== '' || timestampPrefix !== '';
  if (timed !== placeholders.includes('{timestamp}'))
    throw fieldInvalid(`${at}.signed_content`, 'must have {timestamp} where messages carry one, and only there');
  if (placeholders.includes('{id}') && !idHeader)
    throw fieldInvalid('verification.id_header', 'is required where {id} is signed');
}

/** Fails with FIELD_INVALID where the secrets do not fit the scheme. */
export function checkSecrets(given: InboundVerification, secrets: readonly SecretText[]): void {
  const { signature, token } = rulesOf(given);
  const field = 'signing_secrets';
  if (!signature && !token) {
    if (secrets.length > 0) throw fieldInvalid(field, 'goes without INBOUND_SCHEME_NONE');
    return;
  }
  if (secrets.length === 0) throw fieldInvalid(field, 'is required with this scheme');
  for (const [index, secret] of secrets.entries()) {
    const text = secret.reveal();
    const encoded = signature && signature.keyEncoding !== 'raw';
    const base64 =
      /^(whsec_)?[A-Za-z0-9+/]+={0,2}$/.test(text) &&
      (signature?.keyEncoding === 'whsec' || !text.startsWith('whsec_'));
    if (encoded && !(base64 && keyOf(signature, text).length > 0))
      throw fieldInvalid(`${field}.secrets[${index}]`, 'is no key in base64');
  }
}

/** Fails with FIELD_INVALID where a header with a credential would be kept. */
export function checkKeptHeaders(given: InboundVerification, names: readonly string[]): void {
  const { token } = rulesOf(given);
  const index = names.findIndex((name) => NEVER_KEPT.has(name) || name === token?.header);
  if (index >= 0) throw fieldInvalid(`keep_headers.names[${index}]`, 'carries a credential');
}
