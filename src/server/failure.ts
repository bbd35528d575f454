import type { ServerResponse } from 'node:http';
import { codeToHttpStatus, codeToString } from '@connectrpc/connect/protocol-connect';
import type { LatchkeyError } from '../base/error.ts';
import { codeNumber } from './pipeline/status.ts';

/** Answers what went wrong, in Connect's JSON; once the answer has begun, by breaking it off. Answers the status, where there was one to answer. */
export function sendFailure(response: ServerResponse, error: LatchkeyError, requestId: string): number | null {
  if (response.headersSent) {
    response.destroy();
    return null;
  }
  const { reason, metadata, fields, retryAfterMs } = error;
  const status = codeToHttpStatus(codeNumber(error));
  if (retryAfterMs !== undefined) response.setHeader('retry-after', Math.ceil(retryAfterMs / 1000));
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  const info = { reason, domain: 'latchkey', metadata: { ...metadata, request_id: requestId } };
  response.end(
    `${JSON.stringify({ code: codeToString(codeNumber(error)), message: error.message, ...info, fields })}\n`,
  );
  return status;
}
