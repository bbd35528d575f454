import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Answers webhooks at once, and never beneath `/dead`; `/count` says how many came since it was last asked. */
const HOSTS = 20;
let count = 0;

const servers = Array.from({ length: HOSTS }, () =>
  createServer((request, response) => {
    request.resume();
    if (request.url === '/count') {
      response.end(String(count));
      count = 0;
    } else if (!request.url?.startsWith('/dead')) {
      count += 1;
      response.writeHead(204).end();
    }
  }),
);
for (const server of servers) await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
const ports = servers.map((server) => (server.address() as AddressInfo).port);
process.stdout.write(`${JSON.stringify({ ports, httpPort: ports[0], grpcPort: 0, message: 'ready' })}\n`);
process.on('SIGTERM', () => process.exit(0));
