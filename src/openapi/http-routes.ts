import type { JsonObject } from './json.ts';

const ERROR = { $ref: '#/components/responses/Error' };
const NOBODY: JsonObject[] = [];
const TEXT = { type: 'string' };
const ANY_BODY = { content: { '*/*': { schema: {} } } };

function queryParameter(name: string, description: string): JsonObject {
  return { name, in: 'query', description, schema: TEXT };
}

function pathParameter(name: string, description: string): JsonObject {
  return { name, in: 'path', required: true, description, schema: TEXT };
}

function answers(status: number, description: string, contentType?: string, schema: JsonObject = TEXT): JsonObject {
  return { [status]: { description, ...(contentType ? { content: { [contentType]: { schema } } } : {}) } };
}

const READINESS = {
  type: 'object',
  properties: {
    ready: { type: 'boolean' },
    dependencies: {
      type: 'array',
      items: { type: 'object', properties: { name: TEXT, status: TEXT, detail: TEXT }, required: ['name', 'status'] },
    },
  },
  required: ['ready', 'dependencies'],
};

const AUDIT_FILTERS = [
  ...['actorKind', 'actorId', 'onBehalfOf', 'action', 'actionPrefix', 'resourceType', 'resourceId', 'requestId'],
  ...['startTime', 'endTime'],
];

const PROXIED = {
  tags: ['HTTP'],
  summary: 'Passes a request on with a connection’s credential',
  description:
    'Any method, streamed both ways. `path` may have any number of parts; the query is passed on, too. Latchkey’s own key goes where the provider’s would: `authorization: Bearer`, `x-api-key`, or the password of `Basic`. The answer is that of the other side, or an error of Latchkey’s with `x-latchkey-error`.\n\nTakes `connection:use`.',
  parameters: [
    pathParameter('connection', 'Id of the connection.'),
    pathParameter('path', 'What is asked for, below the base URL of the connection.'),
  ],
  'x-permission': 'connection:use',
};

/** What the HTTP port serves beside the methods of the contract. A test compares it with the server. */
export const HTTP_ROUTES: JsonObject = {
  '/oauth/start': {
    get: {
      ...{ tags: ['HTTP'], operationId: 'startAuthorization', security: NOBODY },
      summary: 'Where a person’s browser begins an authorization',
      description:
        'The `authorizationUrl` of StartAuthorization and the `reconnect_url` of errors lead here. For browsers.',
      parameters: [
        queryParameter('ticket', 'Of StartAuthorization; good once.'),
        queryParameter('reconnect', 'Of a reconnect URL.'),
      ],
      responses: {
        ...answers(303, 'On to the provider.'),
        ...answers(400, 'A page that says what is wrong.', 'text/html'),
      },
    },
  },
  '/oauth/callback': {
    get: callback('finishAuthorization', []),
  },
  '/oauth/callback/{provider}': {
    get: callback('finishAuthorizationOfProvider', [pathParameter('provider', 'Name of the provider.')]),
  },
  '/proxy/{connection}/{path}': Object.fromEntries(
    ['get', 'head', 'post', 'put', 'patch', 'delete', 'options'].map((method) => [
      method,
      {
        ...{ ...PROXIED, operationId: `proxy_${method}` },
        ...(['get', 'head', 'options'].includes(method) ? {} : { requestBody: ANY_BODY }),
        responses: { default: { description: 'What the other side answered, or an error.', ...ANY_BODY } },
      },
    ]),
  ),
  '/webhooks/{endpoint}': {
    post: {
      ...{ tags: ['HTTP'], operationId: 'receiveWebhook', security: NOBODY },
      summary: 'Takes what a third party sends to an inbound endpoint',
      description: 'Verified as the endpoint says, and stored before it is acknowledged. See CreateInboundEndpoint.',
      parameters: [pathParameter('endpoint', 'Id of the endpoint.')],
      requestBody: ANY_BODY,
      responses: {
        ...answers(200, 'It is stored, or was before.'),
        ...answers(401, 'It is not verified.'),
        ...answers(404, 'There is no such endpoint, or it is disabled.'),
        ...answers(413, 'It is too large.'),
        ...answers(429, 'Too many have come within a minute.'),
        ...answers(503, 'Try again.'),
      },
    },
  },
  '/audit/export': {
    get: {
      ...{ tags: ['HTTP'], operationId: 'exportAudit', 'x-permission': 'audit:read' },
      summary: 'The audit log as NDJSON',
      description:
        'In the order of the chain, an entry a line. The last line says whether that was all, and after which sequence to go on.\n\nTakes `audit:read`.',
      parameters: [
        queryParameter('after', 'Sequence after which to begin; 0: at the start.'),
        ...AUDIT_FILTERS.map((name) => queryParameter(name, 'As in ListAuditEntries.')),
      ],
      responses: { ...answers(200, 'The log.', 'application/x-ndjson'), default: ERROR },
    },
  },
  '/healthz': plain('isAlive', 'Whether the process lives', 'It does.', 'application/json', {
    type: 'object',
    properties: { status: TEXT },
    required: ['status'],
  }),
  '/readyz': {
    get: {
      ...{ tags: ['HTTP'], operationId: 'isReady', security: NOBODY },
      summary: 'Whether the process can answer, with a row for each dependency',
      responses: {
        ...answers(200, 'It can.', 'application/json', READINESS),
        ...answers(503, 'It cannot: it is stopping, or a dependency is down.', 'application/json', READINESS),
      },
    },
  },
  '/metrics': plain('getMetrics', 'Metrics, for Prometheus', 'The metrics.', 'text/plain', TEXT),
  '/openapi.json': plain('getOpenApi', 'This document', 'The document.', 'application/json', { type: 'object' }),
  '/docs': plain('getDocs', 'This document as a page, to try calls', 'The page.', 'text/html', TEXT),
};

function callback(operationId: string, parameters: JsonObject[]): JsonObject {
  return {
    ...{ tags: ['HTTP'], operationId, security: NOBODY },
    summary: 'Where providers send a person’s browser back to',
    description: 'For browsers: with the answer of the provider as OAuth 2.0 and OpenID Connect have it.',
    parameters: [
      ...parameters,
      queryParameter('state', 'Of the authorization.'),
      queryParameter('code', 'Of the provider.'),
    ],
    responses: {
      ...answers(200, 'A page that says how it went.', 'text/html'),
      ...answers(303, 'Back to the `returnUrl` of the authorization.'),
      ...answers(400, 'A page that says what is wrong.', 'text/html'),
    },
  };
}

function plain(
  operationId: string,
  summary: string,
  what: string,
  contentType: string,
  schema: JsonObject,
): JsonObject {
  const responses = answers(200, what, contentType, schema);
  return { get: { tags: ['HTTP'], operationId, summary, security: NOBODY, responses } };
}
