import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  ClientCredentialsCredential,
  ClientCredentialsCredentialSchema,
  CredentialSchema,
  LoginCredentialSchema,
} from '../../gen/latchkey/v1/credential_pb.ts';

type Credential = MessageInitShape<typeof CredentialSchema>;

/** A secret given by its value. */
export const secret = (value: string) => ({ source: { case: 'value' as const, value } });

export const bearer = (token: string): Credential => ({ kind: { case: 'bearer', value: { token: secret(token) } } });

/** Of a client that has no more than its id and its secret, but for what is given. */
export const clientCredentials = (
  fields: Exclude<MessageInitShape<typeof ClientCredentialsCredentialSchema>, ClientCredentialsCredential> = {},
): Credential => ({
  kind: { case: 'clientCredentials', value: { clientId: 'me', clientSecret: secret('my-secret'), ...fields } },
});

export const login = (value: MessageInitShape<typeof LoginCredentialSchema>): Credential => ({
  kind: { case: 'login', value },
});

export const basic = (username: string, password: string): Credential => ({
  kind: { case: 'basic', value: { username, password: secret(password) } },
});
