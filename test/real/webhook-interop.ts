import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { bearer } from '../harness/credentials.ts';
import { ServerProcess, temporaryFolder } from '../harness/process.ts';
import { ADMIN_KEY, type Clients, clientsOf, transportTo } from '../harness/server.ts';

/** Run by `webhooks.sh`, with the commands of the receivers. */
const COUNT = 1_000;
const AT_ONCE = 20;
const TEXTS = ['plain', 'ünï¢ødé 😀', '"quotes" \\ and\nlines', ''];
/** Of the events, when the secret is replaced, and when the receiver learns of the new one. */
const [ROTATED, LEARNT] = [0.3, 0.7];
const WAIT_MS = 60_000;

type Counts = { verified: number; refused: number; altered_refused: number; altered_verified: number };

/** A receiver that knows one secret. */
class Verifier {
  readonly #process: ChildProcess;
  readonly url: string;

  private constructor(process: ChildProcess, url: string) {
    this.#process = process;
    this.url = url;
  }

  static async start(command: string, secret: string): Promise<Verifier> {
    const [program = '', ...args] = command.split(' ');
    const child = spawn(program, [...args, secret], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [port] = (await once(child.stdout, 'data')) as [Buffer];
    return new Verifier(child, `http://127.0.0.1:${Number(port.toString())}/`);
  }

  async learn(secret: string): Promise<void> {
    await fetch(this.url, { method: 'PUT', body: secret });
  }

  async counts(): Promise<Counts> {
    return (await (await fetch(this.url)).json()) as Counts;
  }

  stop(): void {
    this.#process.kill();
  }
}

const newSecret = () => `whsec_${randomBytes(24).toString('base64')}`;

async function manyTimes(from: number, to: number, one: (n: number) => Promise<unknown>): Promise<void> {
  for (let n = from; n < to; n += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => one(n + i)));
}

/** Webhooks that are asked for, signed with the secret of a connection. Answers how many attempts there were. */
async function sendWebhooks(
  { connections, webhooks }: Clients,
  { url }: Verifier,
  webhookSignatureSecret: string,
): Promise<number> {
  const fields = { name: url, baseUrl: url, credential: bearer('tok'), webhookSignatureSecret };
  const { connection } = await connections.createConnection(fields);
  let attempts = 0;
  await manyTimes(0, COUNT, async (n) => {
    const variables = { n, text: TEXTS[n % TEXTS.length]! };
    const body = { kind: { case: 'stringValue' as const, value: '{{text}} {{n}}' } };
    const { delivery } = await webhooks.sendWebhook({ connectionId: connection!.id, body, variables, sign: true });
    attempts += delivery!.attempts.length;
  });
  return attempts;
}

/** Events to an endpoint whose secret is replaced meanwhile, of which the receiver learns later. */
async function tellEvents({ connections, webhooks }: Clients, receiver: Verifier): Promise<number> {
  const eventTypes = { types: ['connection.updated'] };
  const { endpoint, secret } = await webhooks.createEndpoint({ url: receiver.url, eventTypes });
  await receiver.learn(secret);
  const { connection } = await connections.createConnection({
    name: `${receiver.url} events`,
    credential: bearer('t'),
  });
  const change = (n: number) =>
    connections.updateConnection({ connectionId: connection!.id, displayName: `${TEXTS[n % 2]} ${n}` });
  const arrived = async (count: number) => {
    for (const end = performance.now() + WAIT_MS; performance.now() < end; await pause(50)) {
      const { verified, refused } = await receiver.counts();
      if (verified + refused >= count) return;
    }
    throw new Error(`${count} events did not arrive`);
  };
  await manyTimes(0, COUNT * ROTATED, change);
  // Under way while the secret is replaced.
  const rotated = await webhooks.rotateEndpointSecret({ endpointId: endpoint!.id });
  await manyTimes(COUNT * ROTATED, COUNT * LEARNT, change);
  await receiver.learn(rotated.secret);
  await arrived(COUNT * LEARNT);
  // What was signed with the first secret alone has arrived.
  await webhooks.rotateEndpointSecret({ endpointId: endpoint!.id }).then(({ secret: last }) => receiver.learn(last));
  await manyTimes(COUNT * LEARNT, COUNT, change);
  await arrived(COUNT);
  await webhooks.deleteEndpoint({ endpointId: endpoint!.id });
  return COUNT;
}

const folder = temporaryFolder();
const server = await ServerProcess.ready({
  ...{ LATCHKEY_DATA_DIR: folder.path, LATCHKEY_ADMIN_KEY: ADMIN_KEY, SANDBOX: 'off' },
});
try {
  const clients = clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));
  for (const command of process.argv.slice(2)) {
    for (const kind of ['webhooks', 'events'] as const) {
      const secret = newSecret();
      const receiver = await Verifier.start(command, secret);
      const sent =
        kind === 'webhooks' ? await sendWebhooks(clients, receiver, secret) : await tellEvents(clients, receiver);
      const counts = await receiver.counts();
      receiver.stop();
      process.stdout.write(`${JSON.stringify({ receiver: command.split('/').at(-1), kind, sent, ...counts })}\n`);
      const good = counts.verified === sent && sent >= COUNT && counts.refused === 0 && counts.altered_verified === 0;
      if (!good) process.exitCode = 1;
    }
  }
} finally {
  await server.stop();
  folder.remove();
}
