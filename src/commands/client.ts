import { StartError } from '../base/error.ts';

export type Call = <Answer>(method: string, request: object) => Promise<Answer>;

const REQUEST_MS = 15_000;
const ADVICE: Record<string, string> = {
  CREDENTIALS_MISSING: 'LATCHKEY_KEY is empty.',
  CREDENTIALS_INVALID: 'LATCHKEY_KEY is no key of this server.',
  PERMISSION_MISSING: 'The key in LATCHKEY_KEY may not do this: take the first admin key.',
};

/**
 * Calls methods by the Connect protocol: a POST of JSON is all that it takes. What fails is said for people.
 * @param mostMs longest that a call may take
 */
export function callerOf(url: string, key: string, mostMs = REQUEST_MS): Call {
  return async (method, request) => {
    let answer: Response;
    try {
      answer = await fetch(`${url}/latchkey.v1.${method}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
        body: JSON.stringify(request),
        signal: AbortSignal.timeout(mostMs),
      });
    } catch {
      throw new StartError(`No Latchkey answers at ${url}. Start it with \`npm start\`, or set LATCHKEY_URL.`);
    }
    const text = await answer.text();
    if (!answer.ok) throw new StartError(`${method} failed: ${failureIn(text, answer.status)}`);
    return JSON.parse(text);
  };
}

type Failure = { message?: string; details?: { debug?: { reason?: string } }[] };

function failureIn(text: string, status: number): string {
  let failure: Failure;
  try {
    failure = JSON.parse(text);
  } catch {
    return `HTTP ${status}. Is LATCHKEY_URL the HTTP port of a Latchkey?`;
  }
  const reason = failure.details?.map(({ debug }) => debug?.reason).find((found) => found !== undefined) ?? '';
  return [reason, failure.message, ADVICE[reason]].filter(Boolean).join('. ');
}
