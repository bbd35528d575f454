import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { create, type DescField, type DescMessage, getOption, hasOption } from '@bufbuild/protobuf';
import { FieldOptionsSchema } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';
import { field as fieldRules } from '../../gen/buf/validate/validate_pb.ts';
import { access as accessOption } from '../../gen/latchkey/v1/access_pb.ts';
import { ErrorReasonSchema } from '../../gen/latchkey/v1/error_reason_pb.ts';
import { REASONS } from '../../src/base/reasons.ts';
import { PERMISSIONS, ROLES } from '../../src/domain/access/permissions.ts';
import { services } from '../../src/handlers/index.ts';
import { methodsOf } from '../../src/server/pipeline/method.ts';
import { warmValidation } from '../../src/server/pipeline/validate.ts';
import { echoDescriptor, echoHandlers } from '../harness/echo-service.ts';

const methods = services.flatMap(({ service }) => service.methods);

function messagesBelow(message: DescMessage, seen = new Set<DescMessage>()): Set<DescMessage> {
  if (seen.has(message) || message.typeName.startsWith('google.')) return seen;
  seen.add(message);
  for (const field of message.fields) if (field.message) messagesBelow(field.message, seen);
  return seen;
}

const isRedacted = (field: DescField) => field.proto.options?.debugRedact === true;

/** Not for the log, but no credential: headers of the caller's own, a link that is good once, what the other side of a request answered, and what connectors are set to and answer. */
const NO_CREDENTIALS = [
  ...['Connection.default_headers', 'StartAuthorizationResponse.authorization_url'],
  ...[
    'HttpHeader.value',
    'HttpResponse.body',
    'SendRequestResponse.mapped',
    'Event.reconnect_url',
    'EventEndpoint.url',
    'Connector.config',
    'TestConnectorResponse.data',
    'ExecuteConnectorResponse.data',
  ],
];

describe('The contract', () => {
  it('has one reason for each in the table, with its code and metadata in the comment', () => {
    const names = ErrorReasonSchema.values
      .filter((value) => value.number !== 0)
      .map((value) => value.name.replace('ERROR_REASON_', ''));
    expect(names.sort()).toEqual(Object.keys(REASONS).sort());
    const proto = readFileSync(join(import.meta.dirname, '../../proto/latchkey/v1/error_reason.proto'), 'utf8');
    for (const [reason, { code }] of Object.entries(REASONS)) {
      const comment = new RegExp(`// (${code})\\. .*Metadata: .*\\n  ERROR_REASON_${reason} = `).exec(proto);
      expect(comment, reason).not.toBeNull();
    }
  });

  it('has harmless texts for people', () => {
    for (const { text } of Object.values(REASONS)) expect(text).toMatch(/^[^:/?,&=%]+$/);
  });

  it('says of each method who may call it', () => {
    expect(methods.length).toBeGreaterThan(20);
    for (const method of methods) expect(hasOption(method, accessOption), method.name).toBe(true);
    const asked = methods.map((method) => getOption(method, accessOption).permission).filter(Boolean);
    for (const permission of asked) expect(PERMISSIONS as readonly string[]).toContain(permission);
    expect(ROLES.admin.permissions).toEqual(PERMISSIONS.filter((permission) => permission !== 'tenant:manage'));
  });

  it('does not start with a method that does not, or asks for what nobody has', () => {
    for (const rule of [null, {}, { permission: 'nobody:knows' }, { permission: 'audit:read', public: true }]) {
      const service = echoDescriptor({ Unary: rule });
      expect(() => methodsOf([echoHandlers(service, {})]), JSON.stringify(rule)).toThrow('/test.EchoService/Unary');
    }
    expect(methodsOf([echoHandlers(echoDescriptor(), {})])).toHaveLength(3);
  });

  it('answers secrets by these methods alone, and marks each secret field', () => {
    const revealing = methods
      .filter((method) => getOption(method, accessOption).revealsSecret)
      .map((method) => method.name);
    expect(revealing.sort()).toEqual([
      'CreateApiKey',
      'CreateEndpoint',
      'DownloadIntegrationCredentials',
      'EnsureTokens',
      'GetApiKey',
      'GetCredentials',
      'GetInboundMessage',
      'RotateEndpointSecret',
    ]);
    for (const method of methods) {
      const secrets = [...messagesBelow(method.output)]
        .flatMap((message) => message.fields.filter(isRedacted))
        .map((field) => field.toString().replace('field latchkey.v1.', ''));
      const harmless = secrets.filter((name) => !NO_CREDENTIALS.includes(name));
      if (!revealing.includes(method.name)) expect(harmless, method.name).toEqual([]);
      else expect(harmless.length, method.name).toBeGreaterThan(0);
    }
    const names = methods.flatMap((method) =>
      [...messagesBelow(method.input), ...messagesBelow(method.output)].flatMap((message) => message.fields),
    );
    const suspicious = names.filter(
      (field) =>
        field.scalar !== undefined &&
        // Which of the tokens is sent, not a token.
        field.parent.name !== 'RevocationDefinition' &&
        /^(value|secret|password|token|key|webhook_signature_secret)$/.test(field.name),
    );
    expect(suspicious.length).toBeGreaterThan(3);
    for (const field of suspicious) expect(isRedacted(field), field.toString()).toBe(true);
  });

  it('never answers secrets to a GET', () => {
    for (const method of methods.filter((candidate) => getOption(candidate, accessOption).revealsSecret)) {
      expect(method.idempotency, method.name).toBe(0);
    }
  });

  it('has rules on every field of a request that text, numbers or lists can go into', () => {
    const fields = methods.flatMap((method) => [...messagesBelow(method.input)]).flatMap((message) => message.fields);
    const ruled = fields.filter(
      (field) => field.fieldKind !== 'message' && !(field.fieldKind === 'scalar' && field.scalar === 8),
    );
    expect(ruled.length).toBeGreaterThan(60);
    const bare = ruled.filter((field) => !hasOption(field, fieldRules)).map((field) => field.toString());
    expect(bare).toEqual([]);
  });

  it('has rules that the runtime can run, and does not start with one it does not know', () => {
    expect(() => warmValidation(methodsOf(services))).not.toThrow();
    const [method] = methodsOf(services);
    const field = method!.desc.input.fields.find((candidate) => candidate.name === 'name')!;
    const options = create(FieldOptionsSchema);
    // Field 1159 is the rules; field 99 in them is none that exists.
    options.$unknown = [{ no: 1159, wireType: 2, data: new Uint8Array([3, 0x98, 0x06, 1]) }];
    const before = field.proto.options;
    field.proto.options = options;
    try {
      expect(() => warmValidation([method!])).toThrow('not known');
    } finally {
      if (before) field.proto.options = before;
    }
  });

  it('pages every list alike', () => {
    const lists = methods.filter(({ name }) => name.startsWith('List'));
    expect(lists.length).toBeGreaterThan(14);
    for (const { name, input, output } of lists) {
      const asked = ['page_size', 'page_token', 'skip', 'order', 'with_total_size'];
      expect(
        input.fields.map((field) => field.name),
        name,
      ).toEqual(expect.arrayContaining(asked));
      const answered = output.fields.map((field) => field.name);
      expect(answered.slice(1, 3), name).toEqual(['next_page_token', 'total_size']);
    }
  });

  it('declares how often each read may be repeated', () => {
    for (const method of methods) {
      if (/^(Get|List)/.test(method.name) && !getOption(method, accessOption).revealsSecret)
        expect(method.idempotency, method.name).toBe(1);
      if (/^(Update|Delete|Enable|Disable|Revoke)/.test(method.name)) expect(method.idempotency, method.name).toBe(2);
    }
  });
});
