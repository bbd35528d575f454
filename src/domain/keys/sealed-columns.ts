import type { Place } from '../../crypto/keyring.ts';
import { authorizationPlace } from '../../model/authorization.ts';
import { previousWebhookSecretPlace, webhookSecretPlace } from '../../model/connection.ts';
import { credentialPlace } from '../../model/credential.ts';
import { deliveryPlace } from '../../model/delivery.ts';
import { endpointHeadersPlace, endpointSecretPlace } from '../../model/event-endpoint.ts';
import { signingSecretsPlace } from '../../model/inbound-endpoint.ts';
import { inboundContentPlace } from '../../model/inbound-message.ts';
import { integrationSecretPlace } from '../../model/integration-secret.ts';
import { providerAccountPlace } from '../../model/provider-account.ts';
import { revocationPlace } from '../../model/revocation.ts';
import { secretPlace } from '../../model/secret.ts';
import { tokenGenerationPlace } from '../../model/token-generation.ts';

/** Where sealed values are kept. */
export type SealedColumn = {
  table: string;
  column: string;
  /** Names the row within its tenant. */
  id: string;
  /** SQL of the generation that the value was sealed for. */
  generation: string;
  place: (tenantId: string, id: string, generation: number) => Place;
  /** How many are held in memory at once, where they are large. */
  atOnce?: number;
};

/** Every column that holds sealed values. */
export const SEALED_COLUMNS: readonly SealedColumn[] = [
  { table: 'secret', column: 'value', id: 'id', generation: 'generation', place: secretPlace },
  { table: 'credential', column: 'sealed', id: 'connection_id', generation: 'generation', place: credentialPlace },
  { table: 'connection', column: 'webhook_signature_secret', id: 'id', generation: '0', place: webhookSecretPlace },
  {
    ...{ table: 'connection', column: 'previous_webhook_secret', id: 'id', generation: '0' },
    place: previousWebhookSecretPlace,
  },
  { table: 'integration_secret', column: 'value', id: 'id', generation: '0', place: integrationSecretPlace },
  { table: 'app_authorization', column: 'sealed', id: 'id', generation: '0', place: authorizationPlace },
  { table: 'token_generation', column: 'sealed', id: 'attempt_id', generation: '0', place: tokenGenerationPlace },
  { table: 'provider_account', column: 'sealed', id: 'id', generation: 'generation', place: providerAccountPlace },
  { table: 'revocation', column: 'sealed', id: 'id', generation: '0', place: revocationPlace },
  { table: 'delivery', column: 'sealed', id: 'id', generation: '0', place: deliveryPlace },
  {
    ...{ table: 'inbound_endpoint', column: 'signing_secrets', id: 'id', generation: 'secret_generation' },
    place: signingSecretsPlace,
  },
  {
    ...{ table: 'event_endpoint', column: 'secret', id: 'id', generation: 'secret_generation' },
    place: endpointSecretPlace,
  },
  {
    ...{ table: 'event_endpoint', column: 'previous_secret', id: 'id', generation: 'secret_generation - 1' },
    place: endpointSecretPlace,
  },
  { table: 'event_endpoint', column: 'headers', id: 'id', generation: '0', place: endpointHeadersPlace },
  {
    ...{ table: 'inbound_message', column: 'content', id: 'id', generation: '0', place: inboundContentPlace },
    atOnce: 10,
  },
];
