import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The other side of requests, as a process of its own: `/bytes` answers a gibibyte, anything else a small JSON document, once the request is read. */
const PIECE = Buffer.alloc(256 * 1024, 'x');
const PIECES = 4 * 1024;
const DOCUMENT = JSON.stringify({ files: Array.from({ length: 10 }, (_, id) => ({ id, name: `file ${id}` })) });

const server = createServer((request, response) => {
  if (request.url?.endsWith('/bytes')) {
    response.writeHead(200, { 'content-length': PIECE.length * PIECES });
    let left = PIECES;
    const send = () => {
      while (left > 0) {
        left -= 1;
        if (!response.write(PIECE)) {
          response.once('drain', send);
          return;
        }
      }
      response.end();
    };
    send();
    return;
  }
  request.resume();
  request.on('end', () => response.setHeader('content-type', 'application/json').end(DOCUMENT));
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`{"httpPort":${(server.address() as AddressInfo).port},"message":"ready"}\n`);
});
