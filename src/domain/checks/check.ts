import type { Call, ReadyCredential } from '../call.ts';
import type { ConnectionView } from '../connections/connection-view.ts';
import type { CredentialUse } from '../tokens/get-credentials.ts';

/** A check under way. */
export type Check = {
  /** Its signal ends with the caller, or with the connection's time. */
  call: Call;
  view: ConnectionView;
  credential: ReadyCredential;
  timeoutMs: number;
};

/** The credential is handed to nobody; that it was opened is audited all the same, before it is used. */
export const CHECK_USE: CredentialUse = { permission: 'connection:use', action: 'connection_check_started' };
