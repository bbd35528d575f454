import { AwsError, callerIdentity, listOne } from '../../clients/aws.ts';
import type { Check } from './check.ts';
import { type Finding, finding } from './check-report.ts';
import { findingOf } from './failed-check.ts';

const OK = 200;

/** Asks AWS whose key it is, then for one entry of the bucket; a store with an endpoint of its own for that alone, or for one of its buckets. */
export async function checkAws({ call, credential: { fields, secrets }, timeoutMs }: Check): Promise<Finding> {
  const { egress } = call.app;
  const text = (name: string) => String(fields[name] ?? '');
  const keys = {
    ...{ accessKeyId: text('access_key_id'), region: text('region'), endpoint: text('endpoint') },
    ...{ secretAccessKey: secrets.secret_access_key ?? '', sessionToken: secrets.session_token },
    ...{ signal: call.signal, timeoutMs },
  };
  const identity = keys.endpoint ? null : await callerIdentity(egress, keys);
  const found = identity ? { accountId: identity.account } : {};
  const bucket = text('bucket');
  if (identity && !bucket) return finding('VALID', OK, found);
  try {
    await listOne(egress, keys, bucket);
    return finding('VALID', OK, found);
  } catch (error) {
    // Of the key, more is known than of the bucket.
    if (error instanceof AwsError) return { ...findingOf(error), ...found };
    throw error;
  }
}
