import { signInToFtp } from '../../clients/ftp.ts';
import type { SignInServer } from '../../clients/sign-in.ts';
import { signInToSmtp } from '../../clients/smtp.ts';
import type { Check } from './check.ts';
import { type Finding, finding } from './check-report.ts';

/** Signs in to a mail or file server, and leaves. */
export async function checkSignIn({ call, credential, timeoutMs }: Check): Promise<Finding> {
  const { kind, fields, secrets } = credential;
  const server: SignInServer = {
    ...{ host: String(fields.host), port: Number(fields.port), security: fields.security as SignInServer['security'] },
    ...{ username: String(fields.username ?? ''), password: secrets.password ?? '' },
    ...{ timeoutMs, signal: call.signal },
  };
  const signIn = kind === 'smtp' ? signInToSmtp : signInToFtp;
  return finding('VALID', await signIn(call.app.egress, server));
}
