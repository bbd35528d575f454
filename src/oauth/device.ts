import {
  customFetch,
  deviceAuthorizationRequest,
  deviceCodeGrantRequest,
  processDeviceAuthorizationResponse,
  processDeviceCodeResponse,
} from 'oauth4webapi';
import { storableText } from '../base/storable-text.ts';
import { clientOf, insecureAllowed, type OAuthClient, serverOf, withClientSecrets } from './client.ts';
import { OAuthError } from './oauth-error.ts';
import { asOAuthError, requestToken } from './request-token.ts';
import type { TokenSet } from './token-set.ts';
import { plainFetch } from './wire.ts';

/** What a device authorization endpoint answers (RFC 8628, section 3.2). */
export type DeviceAuthorization = {
  deviceCode: string;
  userCode: string;
  verificationUri: string;
  verificationUriComplete: string;
  expiresInS: number;
  intervalS: number;
};

const DEFAULT_INTERVAL_S = 5;
const LONGEST_INTERVAL_S = 3_600;
/** A person who has not come within a day does not come. */
const LONGEST_S = 86_400;

/** Asks for a code that a person enters on another device. Throws OAuthError. */
export async function authorizeDevice(client: OAuthClient, scopes: readonly string[]): Promise<DeviceAuthorization> {
  const [server, own] = [serverOf(client), clientOf(client)];
  const scope = scopes.join(client.definition.scopes?.separator || ' ');
  try {
    return await withClientSecrets(client, async (auth) => {
      const response = await deviceAuthorizationRequest(server, own, auth, scope ? { scope } : {}, {
        ...insecureAllowed,
        [customFetch]: plainFetch(client, client.definition.tokenHeaders),
      });
      const answer = await processDeviceAuthorizationResponse(server, own, response);
      return {
        deviceCode: answer.device_code,
        userCode: storableText(answer.user_code, 1_000),
        verificationUri: webAddress(answer.verification_uri),
        verificationUriComplete: answer.verification_uri_complete ? webAddress(answer.verification_uri_complete) : '',
        expiresInS: Math.min(answer.expires_in, LONGEST_S),
        intervalS: Math.min(Math.max(Math.ceil(answer.interval ?? DEFAULT_INTERVAL_S), 1), LONGEST_INTERVAL_S),
      };
    });
  } catch (error) {
    throw asOAuthError(error);
  }
}

/** A person is sent there: it must be a page. */
function webAddress(url: string): string {
  if (/^https?:\/\/[\x21-\x7e]+$/.test(url) && URL.canParse(url)) return url;
  throw new OAuthError('refused', 'the verification URI is no web address', { code: 'verification_uri_invalid' });
}

/** Asks once whether the person has decided (RFC 8628, section 3.4). Throws OAuthError: `pending`, `slow_down`, `denied`, `grant_dead` where the code has expired. */
export function pollDevice(client: OAuthClient, deviceCode: string): Promise<TokenSet> {
  return requestToken(client, {
    request: ({ server, client: own, auth, options }) => deviceCodeGrantRequest(server, own, auth, deviceCode, options),
    process: ({ server, client: own }, response) => processDeviceCodeResponse(server, own, response),
  });
}
