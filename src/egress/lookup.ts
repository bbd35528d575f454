import type { LookupAddress } from 'node:dns';
import { Resolver, lookup as systemLookup } from 'node:dns/promises';

/** A server of names has twice as long. */
const ANSWER_MS = 1_500;
const TRIES = 2;
/** How long IPv6 addresses are waited for once there are others. */
const GRACE_MS = 50;
/** The system's own look-up takes a thread for as long as it lasts, of four that files and compression need, too. */
const SYSTEM_AT_ONCE = 2;
const SYSTEM_WAITING = 200;

const resolver = new Resolver({ timeout: ANSWER_MS, tries: TRIES });
const waiting: (() => void)[] = [];
let underWay = 0;

/**
 * Every address of a host name. DNS is asked without a thread of the process, so that names that nobody answers for keep nothing else waiting; what DNS does not
 * know, as what stands in the system's own list of hosts, the system is asked for, two names at a time. Fails with an error that has a `code`.
 */
export async function lookup(host: string): Promise<LookupAddress[]> {
  // Both families, whatever DNS makes of it.
  if (/(^|\.)localhost\.?$/.test(host)) return bySystem(host);
  const four = addresses(resolver.resolve4(host), 4);
  const six = addresses(resolver.resolve6(host), 6);
  const found = [...(await four.found), ...(await (four.answered() ? soon(six.found) : six.found))];
  if (found.length > 0) return found;
  if (four.code() === 'ETIMEOUT' || six.code() === 'ETIMEOUT') throw codeError('ETIMEDOUT');
  return bySystem(host);
}

type Asked = { found: Promise<LookupAddress[]>; answered(): boolean; code(): string };

function addresses(asked: Promise<string[]>, family: 4 | 6): Asked {
  let count = 0;
  let code = '';
  const found = asked.then(
    (all) => {
      count = all.length;
      return all.map((address) => ({ address, family }));
    },
    (error: NodeJS.ErrnoException) => {
      code = error.code ?? '';
      return [];
    },
  );
  return { found, answered: () => count > 0, code: () => code };
}

async function soon(found: Promise<LookupAddress[]>): Promise<LookupAddress[]> {
  const late = Promise.withResolvers<LookupAddress[]>();
  const timer = setTimeout(() => late.resolve([]), GRACE_MS);
  try {
    return await Promise.race([found, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function bySystem(host: string): Promise<LookupAddress[]> {
  if (waiting.length >= SYSTEM_WAITING) throw codeError('EAI_AGAIN');
  if (underWay >= SYSTEM_AT_ONCE) await new Promise<void>((done) => waiting.push(done));
  underWay += 1;
  try {
    return await systemLookup(host, { all: true });
  } finally {
    underWay -= 1;
    waiting.shift()?.();
  }
}

function codeError(code: string): Error {
  return Object.assign(new Error(code), { code });
}
