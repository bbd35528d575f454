import type { MessageInitShape } from '@bufbuild/protobuf';
import type { CredentialSchema } from '../../gen/latchkey/v1/credential_pb.ts';

type Credential = MessageInitShape<typeof CredentialSchema>;

/** A secret given by its value. */
export const secret = (value: string) => ({ source: { case: 'value' as const, value } });

export const bearer = (token: string): Credential => ({ kind: { case: 'bearer', value: { token: secret(token) } } });
