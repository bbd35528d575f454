import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** A token endpoint that rotates, as a process of its own: `/token` answers in 50 ms, `/slow` in a second, `/hits` with how often it was asked. */
const DELAYS_MS: Record<string, number> = { '/token': 50, '/slow': 1_000 };

let hits = 0;
const server = createServer(async (request, response) => {
  request.resume();
  const delayMs = DELAYS_MS[request.url ?? ''];
  if (delayMs === undefined) {
    response.end(String(hits));
    return;
  }
  hits += 1;
  await pause(delayMs);
  response.setHeader('content-type', 'application/json');
  response.end(
    JSON.stringify({ access_token: `at-${hits}`, refresh_token: `rt-${hits}`, token_type: 'Bearer', expires_in: 3600 }),
  );
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`{"httpPort":${(server.address() as AddressInfo).port},"message":"ready"}\n`);
});
