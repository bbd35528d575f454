import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { isTlsCode, type SignInDoor, SignInError, type SignInFailure, type SignInServer, tlsTo } from './sign-in.ts';

/** No reply to a sign-in is longer. */
const LONGEST_REPLY_BYTES = 64 * 1024;
/** What we call ourselves: no name of this machine goes out. */
const NAME = '[127.0.0.1]';

/**
 * Signs in to a mail server and leaves (RFC 5321, 4954, 3207): EHLO, STARTTLS, AUTH, RSET, QUIT. Sends no mail, and no password without TLS unless
 * `security` says so. Answers the reply code. Throws SignInError, EgressError, or ADDRESS_FORBIDDEN.
 */
export async function signInToSmtp(door: SignInDoor, server: SignInServer): Promise<number> {
  const { host, port, security, username, password, timeoutMs, signal } = server;
  const socket = await door.connect(host, port, { timeoutMs, signal });
  const connection = new SMTPConnection({
    ...{ host, port, connection: socket, name: NAME, tls: tlsTo(server), maxResponseSize: LONGEST_REPLY_BYTES },
    ...{ secure: security === 'tls', requireTLS: security === 'starttls', ignoreTLS: security === 'none' },
    ...{ connectionTimeout: timeoutMs, greetingTimeout: timeoutMs, socketTimeout: timeoutMs, socketCloseTimeout: 0 },
  });
  const { promise: ended, reject } = Promise.withResolvers<never>();
  connection.on('error', reject);
  connection.on('end', () => reject(new SignInError('lost')));
  const end = () => reject(new SignInError('timeout'));
  signal.addEventListener('abort', end);
  const step = (run: (done: (error?: Error | null) => void) => void) =>
    Promise.race([ended, new Promise<void>((done, failed) => run((error) => (error ? failed(error) : done())))]);
  try {
    await step((done) => connection.connect(done));
    if (username) await step((done) => connection.login({ user: username, pass: password }, done));
    await step((done) => connection.reset(done));
    leave(connection);
    return username ? AUTHENTICATED : READY;
  } catch (error) {
    connection.close();
    throw failureOf(error, signal);
  } finally {
    ended.catch(() => {});
    signal.removeEventListener('abort', end);
  }
}

/** Nobody waits for the answer to QUIT. */
function leave(connection: SMTPConnection): void {
  const timer = setTimeout(() => connection.close(), QUIT_MS);
  timer.unref();
  connection.once('end', () => clearTimeout(timer));
  connection.quit();
}

const AUTHENTICATED = 235;
const READY = 250;
const QUIT_MS = 1_000;

/** As nodemailer tells it: its own code, that of Node beneath, and the reply code. */
type SmtpError = Error & { code?: string; originalCode?: string; responseCode?: number; command?: string };

function failureOf(error: unknown, signal: AbortSignal): SignInError {
  if (error instanceof SignInError) return error;
  const { code = '', originalCode = '', responseCode = 0, command = '' } = error as SmtpError;
  if (code === 'ETIMEDOUT' || signal.aborted) return new SignInError('timeout');
  if (code === 'ETLS') return new SignInError(command === 'STARTTLS' ? 'no_tls' : 'untrusted', responseCode);
  const failure = failureOfReply(responseCode, code === 'EAUTH' || command.startsWith('AUTH'));
  if (failure) return new SignInError(failure, responseCode);
  if (isTlsCode(originalCode)) return new SignInError('untrusted');
  return new SignInError(code === 'EPROTOCOL' || code === 'EAUTH' ? 'protocol' : 'lost', responseCode);
}

/** RFC 4954, section 6, and RFC 5321, section 4.2. */
function failureOfReply(code: number, atSignIn: boolean): SignInFailure | null {
  if (code >= 400 && code < 500) return 'temporary';
  if (code === 530 || code === 538) return 'no_tls';
  if (code === 534 || code === 504) return 'too_weak';
  if (code === 535 || (code >= 550 && atSignIn)) return 'refused';
  return code === 554 ? 'temporary' : null;
}
