import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

type Operation = {
  tags: string[];
  summary: string;
  security?: object[];
  requestBody?: { content: Record<string, { example?: unknown }> };
  responses: Record<string, { content?: Record<string, { schema: { $ref?: string } }> }>;
  [extension: `x-${string}`]: unknown;
};

export type OpenApi = {
  servers: { url: string }[];
  security: Record<string, string[]>[];
  paths: Record<string, Record<string, Operation | undefined>>;
  components: {
    schemas: Record<string, object>;
    securitySchemes: Record<string, { type: string; scheme?: string; name?: string }>;
  };
};

/** The document as it is generated. */
export const openApi: OpenApi = JSON.parse(readFileSync(join(import.meta.dirname, '../../gen/openapi.json'), 'utf8'));

const ajv = new Ajv2020({ strict: false, allErrors: false });
addFormats.default(ajv);
ajv.addSchema({ $id: 'openapi', components: openApi.components });

/** What tells whether a JSON value is a message, as the document has it. */
export function schemaFor(message: string): ValidateFunction {
  return ajv.compile({ $ref: `openapi#/components/schemas/${message}` });
}
