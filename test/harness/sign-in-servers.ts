import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { FtpSrv } from 'ftp-srv';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { temporaryFolder } from './process.ts';

/** A server on a free port of loopback. */
export type RunningServer = AsyncDisposable & {
  port: number;
  /** What was said to it, in order. */
  heard: string[];
};

export const USER = 'ada@example.com';
export const PASSWORD = 'correct-horse-9f2c';

/** A mail server. Who signs in with another password is answered `code`. */
export async function startSmtp(options: SMTPServerOptions = {}, code = 535): Promise<RunningServer> {
  const heard: string[] = [];
  const server = new SMTPServer({
    ...{ logger: false, authOptional: true, disableReverseLookup: true, closeTimeout: 200, ...options },
    onAuth(auth, session, done) {
      heard.push(`AUTH ${auth.method} ${session.secure ? 'TLS' : 'plain'}`);
      const good = auth.username === USER && auth.password === PASSWORD;
      const refusal = Object.assign(new Error(`no: ${auth.password}`), { responseCode: code });
      done(good ? null : refusal, good ? { user: USER } : undefined);
    },
    onMailFrom(_address, _session, done) {
      heard.push('MAIL');
      done();
    },
    onClose: () => void heard.push('closed'),
  });
  server.on('error', () => {});
  const listening = server.listen(0, '127.0.0.1');
  await new Promise((done) => listening.once('listening', done));
  return {
    ...{ heard, port: (listening.address() as AddressInfo).port },
    [Symbol.asyncDispose]: () => new Promise<void>((done) => server.close(() => done())),
  };
}

/** A file server. `implicit`: TLS from the first byte. */
export async function startFtp(tls?: { key: string; cert: string }, implicit = false): Promise<RunningServer> {
  const heard: string[] = [];
  const folder = temporaryFolder();
  const port = await freePort();
  const silent = Object.assign(() => silent, { child: () => silent });
  for (const level of ['trace', 'debug', 'info', 'warn', 'error']) Object.assign(silent, { [level]: () => {} });
  const server = new FtpSrv({
    ...{ url: `${implicit ? 'ftps' : 'ftp'}://127.0.0.1:${port}`, log: silent, tls: tls ?? false },
  });
  server.on('login', ({ connection, username, password }, resolve, reject) => {
    heard.push(`LOGIN ${connection.secure || implicit ? 'TLS' : 'plain'}`);
    if (username === USER && password === PASSWORD) resolve({ root: folder.path });
    else reject(new Error(`no: ${password}`));
  });
  server.on('disconnect', () => void heard.push('closed'));
  await server.listen();
  return {
    ...{ heard, port },
    async [Symbol.asyncDispose]() {
      await server.close();
      folder.remove();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}
