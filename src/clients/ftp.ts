import { connect as connectTls, type TLSSocket } from 'node:tls';
import { Client, FTPError, type FTPResponse } from 'basic-ftp';
import { isTlsCode, type SignInDoor, SignInError, type SignInFailure, type SignInServer, tlsTo } from './sign-in.ts';

/**
 * Signs in to a file server and leaves (RFC 959, 4217): AUTH TLS or TLS at once, as `security` says, then USER, PASS, PWD, QUIT. Transfers nothing.
 * Answers the reply code. Throws SignInError, EgressError, or ADDRESS_FORBIDDEN.
 */
export async function signInToFtp(door: SignInDoor, server: SignInServer): Promise<number> {
  const { host, port, security, username, password, timeoutMs, signal } = server;
  const socket = await door.connect(host, port, { timeoutMs, signal });
  const client = new Client(timeoutMs);
  try {
    client.ftp.socket = security === 'tls' ? await secured(connectTls({ ...tlsTo(server), socket })) : socket;
    await greeting(client);
    if (security === 'starttls') await startTls(client, server);
    const { code } = await client.login(username || 'anonymous', password);
    await client.send('PWD');
    return code;
  } catch (error) {
    throw failureOf(error, signal);
  } finally {
    // Sends QUIT.
    client.close();
    socket.destroySoon();
  }
}

function secured(socket: TLSSocket): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    // Stays, so that no error of this socket is ever without a listener.
    socket.on('error', reject);
    socket.on('close', () => reject(new SignInError('lost')));
    socket.once('secureConnect', () => resolve(socket));
  });
}

function greeting({ ftp }: Client): Promise<FTPResponse> {
  return ftp.handle(undefined, (reply, task) => {
    if (reply instanceof Error) task.reject(reply);
    else if (reply.code < 200 || reply.code > 299) task.reject(new SignInError('temporary', reply.code));
    else task.resolve(reply);
  });
}

async function startTls(client: Client, server: SignInServer): Promise<void> {
  try {
    await client.useTLS(tlsTo(server));
  } catch (error) {
    throw error instanceof FTPError && error.code !== NOT_NOW ? new SignInError('no_tls', error.code) : error;
  }
}

const NOT_NOW = 421;

function failureOf(error: unknown, signal: AbortSignal): SignInError {
  if (error instanceof SignInError) return error;
  if (error instanceof FTPError) return new SignInError(failureOfReply(error.code), error.code);
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (signal.aborted || code === 'ETIMEDOUT' || message.startsWith('Timeout')) return new SignInError('timeout');
  if (isTlsCode(code)) return new SignInError('untrusted');
  return new SignInError(message.includes('maximum allowed size') ? 'protocol' : 'lost');
}

/** RFC 959, section 4.2.1, and RFC 4217. */
function failureOfReply(code: number): SignInFailure {
  if (code === 530) return 'refused';
  if (code === 332) return 'too_weak';
  if (code === 522 || code === 533 || code === 534) return 'no_tls';
  return code >= 400 && code < 500 ? 'temporary' : 'protocol';
}
