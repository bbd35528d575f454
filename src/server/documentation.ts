import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Config } from '../config.ts';

/** What answers GET and HEAD, by path. */
export type Documentation = Record<
  string,
  (request: IncomingMessage, response: ServerResponse) => Promise<void> | void
>;

type Content = { type: string; bytes: Buffer; gzipped: Buffer; etag: string };

const DOCUMENT = new URL('../../gen/openapi.json', import.meta.url);
const HTML = 'text/html; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';

/** Files of the viewer that are served, and nothing else of it. */
const VIEWER_FILES: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': SCRIPT,
  'favicon-32x32.png': 'image/png',
};

/** Addresses are relative, so that the page also works below a path of a proxy. */
const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Latchkey API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="viewer"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
`;

/** A key that is entered lives as long as the page; the document is asked of us alone, and shown to nobody else. */
const START = `SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#viewer',
  deepLinking: true,
  docExpansion: 'none',
  filter: true,
  persistAuthorization: false,
  queryConfigEnabled: false,
  validatorUrl: null,
});
`;

/**
 * `/openapi.json`, and `/docs` with a page to read it and to try calls, in production too: the contract is no secret. The document is read once, here;
 * the viewer's files when they are first asked for.
 */
export function openDocumentation(config: Pick<Config, 'publicUrl'>): Documentation {
  const document = documentFor(config.publicUrl);
  const policy = contentSecurityPolicy(config.publicUrl);
  const routes: Documentation = {
    '/openapi.json': serve('application/json', async () => document),
    '/docs': serve(HTML, async () => Buffer.from(PAGE), { 'content-security-policy': policy }),
    // Relative, for the same reason; the page's own addresses would be wrong there.
    '/docs/': (_, response) => void response.writeHead(308, { location: '../docs' }).end(),
    '/docs/start.js': serve(SCRIPT, async () => Buffer.from(START)),
  };
  for (const [name, type] of Object.entries(VIEWER_FILES))
    routes[`/docs/${name}`] = serve(type, () => readFile(new URL(import.meta.resolve(`swagger-ui-dist/${name}`))));
  return routes;
}

/** The generated document, with where it is served. */
function documentFor(publicUrl: string): Buffer {
  const document = JSON.parse(readFileSync(DOCUMENT, 'utf8'));
  const here = { url: '/', description: 'Where this document is from' };
  const servers = publicUrl ? [{ url: publicUrl }, here] : [here];
  return Buffer.from(JSON.stringify({ ...document, servers }));
}

/** Nothing from elsewhere, no script in the page, in no frame; calls go to us alone. The viewer draws icons from `data:`. */
function contentSecurityPolicy(publicUrl: string): string {
  const own = publicUrl ? ` ${new URL(publicUrl).origin}` : '';
  return [
    ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'"],
    ...[`connect-src 'self'${own}`, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ].join('; ');
}

function serve(type: string, load: () => Promise<Buffer>, headers: Record<string, string> = {}): Documentation[string] {
  let loading: Promise<Content> | null = null;
  return async (request, response) => {
    loading ??= contentOf(type, load);
    const content = await loading.catch((error: unknown) => {
      loading = null;
      throw error;
    });
    send(request, response, content, headers);
  };
}

async function contentOf(type: string, load: () => Promise<Buffer>): Promise<Content> {
  const bytes = await load();
  const hash = createHash('sha256').update(bytes).digest('base64url');
  return { type, bytes, gzipped: await promisify(gzip)(bytes), etag: `"${hash}"` };
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { type, bytes, gzipped, etag }: Content,
  headers: Record<string, string>,
): void {
  const zip = /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(String(request.headers['accept-encoding'] ?? ''));
  // The two forms are two representations, and have tags of their own.
  const tag = zip ? etag.replace(/"$/, '-gzip"') : etag;
  const shared = { etag: tag, 'cache-control': 'no-cache', 'referrer-policy': 'no-referrer', ...headers };
  for (const [name, value] of Object.entries(shared)) response.setHeader(name, value);
  response.appendHeader('vary', 'Accept-Encoding');
  if (request.headers['if-none-match']?.split(/\s*,\s*/).includes(tag)) {
    response.writeHead(304).end();
    return;
  }
  const body = zip ? gzipped : bytes;
  response.setHeader('content-length', body.length);
  if (zip) response.setHeader('content-encoding', 'gzip');
  response.writeHead(200, { 'content-type': type });
  response.end(body);
}
