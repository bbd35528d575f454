import { type DescMethod, type DescService, type FileRegistry, getOption, type Message } from '@bufbuild/protobuf';
import { MethodOptions_IdempotencyLevel } from '@bufbuild/protobuf/wkt';
import { commentOf, summaryOf } from './comments.ts';
import { errorSchemas, reasonsOf } from './errors.ts';
import { HTTP_ROUTES } from './http-routes.ts';
import { compact, type Json, type JsonObject } from './json.ts';
import { sampleOf } from './sample.ts';
import { Schemas } from './schema.ts';

const PACKAGE = 'latchkey.v1';

const ABOUT = `Latchkey holds the keys to your users' third-party accounts.

Every method is a \`POST\` of JSON to \`/latchkey.v1.<Service>/<Method>\`: the [Connect protocol](https://connectrpc.com/docs/protocol/). The same methods are served over gRPC and gRPC-Web.

- Fields that hold what they hold by default (0, empty, false) are left out of answers. A field that a request does not know is refused.
- A caller is known by \`authorization: Bearer\` with an access token or an API key, or by \`x-api-key\` with an API key. A key with \`user:act_as\` may act for a user: \`latchkey-user: <user id or subject>\`.
- \`connect-timeout-ms\` sets a deadline; \`x-request-id\` names the request in the log and in errors.
- Texts hold neither NUL nor half a surrogate pair.
- Every error has an ErrorInfo with a reason, in \`details[].debug\`.`;

/** Of latchkey.v1.Access. */
type Access = { permission: string; authenticated: boolean; public: boolean; revealsSecret: boolean };

/** The OpenAPI document of all services of the contract. */
export function openApiDocument(registry: FileRegistry): JsonObject {
  const services = [...registry]
    .filter((desc) => desc.kind === 'service')
    .filter(({ file }) => file.proto.package === PACKAGE)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const methods = services.flatMap((service) => service.methods);
  const schemas = new Schemas();
  for (const { input } of methods) schemas.expectIn(input);
  for (const { input, output } of methods) for (const message of [input, output]) schemas.refer(message);
  const reasons = registry.getEnum(`${PACKAGE}.ErrorReason`)!;
  const named = { ...schemas.all(), ...errorSchemas(reasons) };
  const writer = { registry, schemas, named, reasons: new Set(reasonsOf(reasons)) };
  const paths = methods.map((method) => [`/${method.parent.typeName}/${method.name}`, pathOf(method, writer)]);
  return {
    openapi: '3.1.0',
    info: { title: 'Latchkey', version: 'v1', description: ABOUT },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }, { apiKey: [] }],
    tags: [...services.map(tagOf), { name: 'HTTP', description: 'What the HTTP port serves beside the methods.' }],
    paths: { ...Object.fromEntries(paths), ...HTTP_ROUTES },
    components: {
      schemas: named,
      responses: {
        Error: {
          description: 'The call failed.',
          content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
        },
      },
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'An access token of the OpenID provider, or an API key.',
        },
        apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: 'An API key.' },
      },
    },
  };
}

function tagOf(service: DescService): JsonObject {
  return { name: service.name, description: commentOf(service) };
}

type Writer = { registry: FileRegistry; schemas: Schemas; named: JsonObject; reasons: ReadonlySet<string> };

function pathOf(method: DescMethod, { registry, schemas, named, reasons }: Writer): JsonObject {
  const comment = commentOf(method);
  const access = accessOf(method, registry);
  const [input, output] = [schemas.refer(method.input), schemas.refer(method.output)];
  const failsWith = [...new Set(comment.match(/\b[A-Z][A-Z_]+\b/g) ?? [])].filter((word) => reasons.has(word));
  const stream = method.methodKind === 'server_streaming';
  return {
    post: compact({
      tags: [method.parent.name],
      operationId: `${method.parent.name}_${method.name}`,
      summary: summaryOf(comment),
      description: [comment, ...notesOf(method, access)].join('\n\n'),
      security: access.public ? [] : undefined,
      requestBody: { required: true, content: stream ? streamed(input) : json(input, sampleOf(input, named)) },
      responses: {
        200: {
          description: stream ? 'Messages as they come.' : 'Done.',
          content: stream ? streamed(output) : json(output),
        },
        default: { $ref: '#/components/responses/Error' },
      },
      'x-permission': access.permission || undefined,
      'x-reveals-secret': access.revealsSecret || undefined,
      'x-error-reasons': failsWith.length > 0 ? failsWith : undefined,
      'x-server-stream': stream || undefined,
    }),
  };
}

function notesOf({ methodKind, idempotency, parent }: DescMethod, access: Access): string[] {
  const notes = [callersOf(access)];
  if (access.revealsSecret) notes.push('The answer holds secrets. Each call is audited.');
  if (methodKind === 'server_streaming')
    notes.push(
      'A stream: request and answers are enveloped (a byte of flags, four of length, then JSON), as the Connect protocol says of `application/connect+json`. It cannot be tried on a page; use a client of Connect or gRPC.',
    );
  else if (idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS)
    notes.push(
      'It changes nothing, and may also be called by `GET …?connect=v1&encoding=json&message=<JSON, URL-encoded>`.',
    );
  if (parent.name === 'LangflowService') notes.push('Served only where Langflow is configured; else 404.');
  return notes;
}

function callersOf({ permission, public: anybody }: Access): string {
  if (anybody) return 'Anybody may call it, without a credential.';
  return permission ? `Takes \`${permission}\`.` : 'Takes any valid credential.';
}

function accessOf(method: DescMethod, registry: FileRegistry): Access {
  const option = registry.getExtension(`${PACKAGE}.access`)!;
  return getOption(method, option) as Message & Access;
}

function json(schema: JsonObject, example?: Json): JsonObject {
  return { 'application/json': compact({ schema, example }) };
}

function streamed(message: JsonObject): JsonObject {
  const schema = { type: 'string', contentMediaType: 'application/json', contentSchema: message };
  return { 'application/connect+json': { schema } };
}
