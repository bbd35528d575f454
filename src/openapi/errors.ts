import type { DescEnum } from '@bufbuild/protobuf';
import { commentOf } from './comments.ts';
import type { JsonObject } from './json.ts';

const PREFIX = 'ERROR_REASON_';

/** https://connectrpc.com/docs/protocol/#error-codes */
const CODES = [
  ...['canceled', 'unknown', 'invalid_argument', 'deadline_exceeded', 'not_found', 'already_exists'],
  ...['permission_denied', 'resource_exhausted', 'failed_precondition', 'aborted', 'out_of_range', 'unimplemented'],
  ...['internal', 'unavailable', 'data_loss', 'unauthenticated'],
];

/** Names of reasons, as errors carry them. */
export function reasonsOf(reasons: DescEnum): string[] {
  return reasons.values.filter(({ number }) => number !== 0).map(({ name }) => name.replace(PREFIX, ''));
}

/** The schemas of what a call that fails is answered with. */
export function errorSchemas(reasons: DescEnum): JsonObject {
  const lines = reasons.values
    .filter(({ number }) => number !== 0)
    .map((value) => `- \`${value.name.replace(PREFIX, '')}\`: ${commentOf(value)}`);
  return {
    Error: {
      type: 'object',
      description: 'An error of the Connect protocol.',
      properties: {
        code: { type: 'string', enum: CODES, description: 'What kind of failure it is.' },
        message: { type: 'string', description: 'For people; the same for each reason.' },
        details: { type: 'array', items: { $ref: '#/components/schemas/ErrorDetail' } },
      },
      required: ['code'],
    },
    ErrorDetail: {
      type: 'object',
      description:
        'google.rpc.ErrorInfo always; google.rpc.BadRequest where fields are wrong; google.rpc.RetryInfo where waiting helps.',
      properties: {
        type: { type: 'string', description: 'Name of the message, as `google.rpc.ErrorInfo`.' },
        value: { type: 'string', contentEncoding: 'base64', description: 'The message in protobuf.' },
        debug: {
          type: 'object',
          description: 'The message as JSON: of ErrorInfo `reason`, `domain` (`latchkey`) and `metadata`.',
          properties: {
            reason: { $ref: '#/components/schemas/ErrorReason' },
            domain: { type: 'string' },
            metadata: { type: 'object', additionalProperties: { type: 'string' } },
            fieldViolations: {
              type: 'array',
              items: {
                type: 'object',
                properties: { field: { type: 'string' }, description: { type: 'string' } },
              },
            },
            retryDelay: { type: 'string', description: 'As `1s`.' },
          },
        },
      },
      required: ['type', 'value'],
    },
    ErrorReason: {
      ...{ type: 'string', enum: reasonsOf(reasons) },
      description: `Why a call failed. The metadata of each also has \`request_id\`.\n\n${lines.join('\n')}`,
    },
  };
}
