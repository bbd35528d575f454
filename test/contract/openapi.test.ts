import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getOption } from '@bufbuild/protobuf';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { access as accessOption } from '../../gen/latchkey/v1/access_pb.ts';
import { services } from '../../src/handlers/index.ts';
import { openDocumentation } from '../../src/server/documentation.ts';
import { openApi, schemaFor } from '../harness/openapi.ts';

const methods = services.flatMap(({ service }) => service.methods);
const pathOf = (method: (typeof methods)[number]) => `/${method.parent.typeName}/${method.name}`;

describe('The OpenAPI document', () => {
  it('is OpenAPI 3.1', async () => {
    const validator = new Validator();
    expect(await validator.validate({ ...structuredClone(openApi) })).toMatchObject({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  it('has every method of the services that there are, with who may call it, and no other', () => {
    const described = Object.keys(openApi.paths).filter((path) => path.startsWith('/latchkey.'));
    expect(described.sort()).toEqual(methods.map(pathOf).sort());
    for (const method of methods) {
      const { permission, public: anybody, revealsSecret } = getOption(method, accessOption);
      const { post } = openApi.paths[pathOf(method)]!;
      expect(post!.security, method.name).toEqual(anybody ? [] : undefined);
      expect(post!['x-permission'] ?? '', method.name).toBe(permission);
      expect(post!['x-reveals-secret'] ?? false, method.name).toBe(revealsSecret);
      expect(post!['x-server-stream'] ?? false, method.name).toBe(method.methodKind === 'server_streaming');
      expect([post!.tags, post!.summary === ''], method.name).toEqual([[method.parent.name], false]);
    }
    expect(openApi.paths['/latchkey.v1.AccessService/CreateApiKey']!.post!['x-error-reasons']).toEqual([
      ...['PERMISSION_MISSING', 'TENANT_NOT_FOUND', 'TENANT_DELETED', 'REQUEST_ID_REUSED'],
    ]);
  });

  it('has the other paths of the HTTP port, and no other', () => {
    const source = readFileSync(join(import.meta.dirname, '../../src/server/http.ts'), 'utf8');
    const fixed = [...source.matchAll(/^ {4}'(\/[^']+)':/gm)].map((match) => match[1]!);
    expect(fixed).toContain('/healthz');
    const own = Object.keys(openDocumentation({ publicUrl: '' })).filter((path) => !path.startsWith('/docs/'));
    // The source systems' paths are aliases of the OAuth ones, and not for new callers.
    const below = ['/oauth/start', '/oauth/callback', '/oauth/callback/{provider}', '/proxy/{connection}/{path}'];
    const described = Object.keys(openApi.paths).filter((path) => !path.startsWith('/latchkey.'));
    expect(described.sort()).toEqual([...fixed, ...own, ...below, '/webhooks/{endpoint}'].sort());
  });

  it('describes every element, and refers to nothing that is not there', () => {
    const text = JSON.stringify(openApi);
    const names = new Set(Object.keys(openApi.components.schemas));
    for (const [, name] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)) expect(names).toContain(name);
    for (const method of methods)
      for (const message of [method.input, method.output]) {
        const { properties } = openApi.components.schemas[message.name] as { properties: object };
        expect(Object.keys(properties)).toEqual(message.fields.map((field) => field.jsonName));
      }
    const bare = Object.entries(openApi.components.schemas).filter(([, schema]) => !('description' in schema));
    expect(bare).toEqual([]);
  });

  it('has examples that its own schemas take', () => {
    const examples = methods.flatMap((method) => {
      const example = openApi.paths[pathOf(method)]!.post!.requestBody!.content['application/json']?.example;
      return example === undefined ? [] : [{ method, example }];
    });
    expect(examples.length).toBeGreaterThan(60);
    for (const { method, example } of examples) {
      const valid = schemaFor(method.input.name);
      expect(valid(example) || valid.errors, method.name).toBe(true);
    }
  });
});
