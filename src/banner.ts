import type { Config } from './config.ts';

type Started = { config: Config; notes: string[]; grpcPort: number; httpPort: number; firstAdminKey: string | null };

/** What a developer reads after the start: what was done, and commands to try. */
export function banner({ config, notes, grpcPort, httpPort, firstAdminKey }: Started): string {
  const scheme = config.tls ? 'https' : 'http';
  const http = `${scheme}://localhost:${httpPort}`;
  const service = `${http}/latchkey.v1.ConnectionService`;
  const headers = '-H "authorization: Bearer $LATCHKEY_KEY" -H "content-type: application/json"';
  const lines = [
    '',
    'Latchkey is ready.',
    `  gRPC          localhost:${grpcPort}`,
    `  HTTP          ${http}   (Connect, gRPC-Web, /docs, /healthz, /readyz, /metrics)`,
    ...notes.map((note) => `  - ${note}`),
    '',
    ...(firstAdminKey
      ? ['  The first admin key, shown this once:', `    export LATCHKEY_KEY=${firstAdminKey}`, '', '  Try:']
      : ['  Try, with your key in LATCHKEY_KEY:']),
    `    curl ${headers} ${service}/CreateConnection -d '{"name":"stripe","credential":{"bearer":{"token":{"value":"sk_test_1"}}}}'`,
    `    curl ${headers} ${service}/ListConnections -d '{}'`,
    `    curl ${headers} ${service}/GetCredentials -d '{"connectionId":"conn_…"}'   # the id that the first answered`,
    ...(config.sandbox.url ? [`    ${demo(http)}   # connects an account of the sandbox, as a person would`] : []),
    '',
    '',
  ];
  return lines.join('\n');
}

function demo(http: string): string {
  return http === 'http://localhost:8080' ? 'npm run demo' : `LATCHKEY_URL=${http} npm run demo`;
}
