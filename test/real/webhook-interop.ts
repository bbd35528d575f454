import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { bearer } from '../harness/credentials.ts';
import { ServerProcess, temporaryFolder } from '../harness/process.ts';
import { ADMIN_KEY, clientsOf, transportTo } from '../harness/server.ts';

/** Run by `webhooks.sh`, with the Python that has the library. */
const COUNT = 1_000;
const AT_ONCE = 20;
const TEXTS = ['plain', 'ünï¢ødé 😀', '"quotes" \\ and\nlines', ''];

const signingSecret = `whsec_${randomBytes(24).toString('base64')}`;
const python = spawn(process.argv[2]!, ['test/real/webhook_receiver.py', signingSecret], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const [port] = (await once(python.stdout, 'data')) as [Buffer];
const url = `http://127.0.0.1:${Number(port.toString())}/`;
const folder = temporaryFolder();
const server = await ServerProcess.ready({
  LATCHKEY_DATA_DIR: folder.path,
  LATCHKEY_ADMIN_KEY: ADMIN_KEY,
  SANDBOX: 'off',
});
try {
  const { connections, webhooks } = clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));
  const fields = { name: 'receiver', baseUrl: url, credential: bearer('tok'), webhookSignatureSecret: signingSecret };
  const { connection } = await connections.createConnection(fields);
  const send = async (n: number) => {
    const variables = { n, text: TEXTS[n % TEXTS.length]! };
    const body = { kind: { case: 'stringValue' as const, value: '{{text}} {{n}}' } };
    const { delivery } = await webhooks.sendWebhook({ connectionId: connection!.id, body, variables, sign: true });
    return delivery!.attempts.length;
  };
  let attempts = 0;
  for (let n = 0; n < COUNT; n += AT_ONCE)
    attempts += (await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => send(n + i)))).reduce((a, b) => a + b, 0);
  const counts = (await (await fetch(url)).json()) as Record<string, number>;
  process.stdout.write(`${JSON.stringify({ attempts, ...counts })}\n`);
  const good =
    counts.verified === attempts && attempts >= COUNT && counts.refused === 0 && counts.altered_verified === 0;
  process.exitCode = good ? 0 : 1;
} finally {
  await server.stop();
  python.kill();
  folder.remove();
}
