import { fieldInvalid } from '../../base/error.ts';
import { pointer } from '../../base/json-pointer.ts';
import { SecretText } from '../../base/secret-text.ts';
import { type IntegrationSecret, integrationSecretPlace } from '../../model/integration-secret.ts';
import type { App } from '../call.ts';

/** A client's registration: its id, and its secrets in the order in which they are tried. */
export type IntegrationCredentials = { clientId: string; clientSecrets: SecretText[] };

const MOST_SECRETS = 5;

/** Reads a client JSON: Google's (`web` or `installed`), or that of DownloadIntegrationCredentials. Fails with FIELD_INVALID, without a word of it. */
export function parseCredentialsDocument(text: string): IntegrationCredentials {
  const document = parse(text);
  const client = pointer(document, '/web') ?? pointer(document, '/installed') ?? document;
  const clientId = pointer(client, '/client_id');
  const one = pointer(client, '/client_secret');
  const several = pointer(client, '/client_secrets');
  const secrets = Array.isArray(several) ? several : one === undefined ? [] : [one];
  if (typeof clientId !== 'string' || clientId === '') throw fieldInvalid('document', 'has no client_id');
  if (secrets.length > MOST_SECRETS || !secrets.every((secret) => typeof secret === 'string' && secret !== ''))
    throw fieldInvalid('document', `must have at most ${MOST_SECRETS} client secrets, all of them text`);
  return { clientId, clientSecrets: secrets.map((secret) => new SecretText(secret)) };
}

/** Opens client secrets, in their order. Throws IntegrityError. */
export async function openClientSecrets({ keyring }: App, stored: IntegrationSecret[]): Promise<SecretText[]> {
  const secrets: SecretText[] = [];
  for (const { tenantId, id, value } of stored) {
    const opened = await keyring.open(integrationSecretPlace(tenantId, id), value);
    secrets.push(new SecretText(opened.toString()));
    opened.fill(0);
  }
  return secrets;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw fieldInvalid('document', 'is not JSON');
  }
}
