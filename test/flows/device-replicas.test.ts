import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuthorizationMethod, AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { connect, setUp } from '../harness/authorizations.ts';
import type { ServerProcess } from '../harness/process.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { ScriptedProvider } from '../harness/scripted-provider.ts';

let replicas: Replicas;
let one: ServerProcess;
let two: ServerProcess;
let provider: ScriptedProvider;

beforeAll(async () => {
  [replicas, provider] = await Promise.all([Replicas.create(), ScriptedProvider.start()]);
  [one, two] = await Promise.all([replicas.start(), replicas.start()]);
});
afterAll(async () => {
  await replicas.stop();
  await provider.stop();
});

/** The last that a replica tells of an authorization. */
async function endAt(replica: ServerProcess, authorizationId: string): Promise<AuthorizationStatus | undefined> {
  let last: AuthorizationStatus | undefined;
  const told = operatorAt(replica).connections.watchAuthorization({ authorizationId });
  for await (const { authorization } of told) last = authorization?.status;
  return last;
}

describe('A device authorization with two replicas', () => {
  it('is asked for by one of them at a time, and told by both', async () => {
    provider.answers('/token', ({ body }) =>
      provider.count('/token') < 4
        ? { status: 400, body: { error: 'authorization_pending' } }
        : { body: { access_token: `of ${body.device_code}`, token_type: 'bearer' } },
    );
    const integrationId = await setUp(operatorAt(one), provider.definition('scripted'));
    const method = AuthorizationMethod.DEVICE;
    const { id } = await connect(operatorAt(one), integrationId, 'mine', { method });
    const ends = await Promise.all([endAt(one, id), endAt(two, id)]);
    expect(ends).toEqual([AuthorizationStatus.SUCCEEDED, AuthorizationStatus.SUCCEEDED]);
    const polls = provider.to('/token');
    expect(polls).toHaveLength(4);
    const pauses = polls.slice(1).map(({ at }, index) => at - polls[index]!.at);
    for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(950);
  });
});
