import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { brokenUniqueConstraint } from '../../db/errors.ts';
import type { Em } from '../../db/transaction.ts';
import type { JsonObject } from '../../model/json.ts';

const LARGEST_JSON_BYTES = 65_536;
/** Headers that carry credentials, or that the HTTP client itself must set (RFC 9110, section 7.6.1). */
const FORBIDDEN_HEADERS = new Set(
  'authorization cookie host connection keep-alive proxy-authorization proxy-connection te trailer transfer-encoding upgrade content-length'.split(
    ' ',
  ),
);

/** Fields with rules that the contract cannot say. */
export type CheckedFields = {
  baseUrl?: string | undefined;
  defaultHeaders?: Record<string, string> | undefined;
  metadata?: JsonObject | undefined;
  config?: JsonObject | undefined;
  providerAccountMetadata?: JsonObject | undefined;
};

/** Fails with FIELD_INVALID. */
export function checkConnectionFields(fields: CheckedFields): void {
  if (fields.baseUrl && !URL.canParse(fields.baseUrl)) throw fieldInvalid('base_url', 'is not a URL');
  for (const name of Object.keys(fields.defaultHeaders ?? {})) {
    if (FORBIDDEN_HEADERS.has(name.toLowerCase())) {
      throw fieldInvalid(`default_headers.entries["${name}"]`, 'may not be set as a default header');
    }
  }
  checkSize('metadata', fields.metadata);
  checkSize('config', fields.config);
  checkSize('provider_account_metadata', fields.providerAccountMetadata);
}

function checkSize(field: string, value: JsonObject | undefined): void {
  if (value && Buffer.byteLength(JSON.stringify(value)) > LARGEST_JSON_BYTES) {
    throw fieldInvalid(field, `is larger than ${LARGEST_JSON_BYTES} bytes as JSON`);
  }
}

/** Writes a connection whose name may be taken. Fails with CONNECTION_NAME_TAKEN. */
export async function flushNamed(em: Em, name: string): Promise<void> {
  try {
    await em.flush();
  } catch (error) {
    if (brokenUniqueConstraint(error) !== 'connection_name') throw error;
    throw new LatchkeyError('CONNECTION_NAME_TAKEN', { metadata: { name } });
  }
}
