import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuthorizationMethod, AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { connect, credentialOf, setUp } from '../harness/authorizations.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { ScriptedProvider } from '../harness/scripted-provider.ts';

let replicas: Replicas;
let provider: ScriptedProvider;

beforeAll(async () => {
  [replicas, provider] = await Promise.all([Replicas.create(), ScriptedProvider.start()]);
});
afterAll(async () => {
  await replicas.stop();
  await provider.stop();
});

/** How long until the work of a dead replica is taken up: 30 s until it counts as gone, and 10 s until that is looked at. */
const TAKEN_UP = { timeout: 60_000, interval: 100 };

describe('A replica that is killed while it asks for a device authorization', () => {
  it('is replaced by another, which asks on until the person has decided', async () => {
    const one = await replicas.start();
    const { promise: until, resolve: release } = Promise.withResolvers<void>();
    provider.answers(
      '/token',
      { status: 400, body: { error: 'authorization_pending' }, until },
      { body: { access_token: 'at-device', token_type: 'bearer' } },
    );
    const integrationId = await setUp(operatorAt(one), provider.definition('scripted'));
    const method = AuthorizationMethod.DEVICE;
    const { id, connectionId } = await connect(operatorAt(one), integrationId, 'mine', { method });
    await expect.poll(() => provider.count('/token'), TAKEN_UP).toBe(1);
    await one.stop('SIGKILL');
    release();
    const two = await replicas.start();
    const statusOf = async () =>
      (await operatorAt(two).connections.getAuthorization({ authorizationId: id })).authorization!.status;
    expect(await statusOf()).toBe(AuthorizationStatus.PENDING);
    await expect.poll(statusOf, TAKEN_UP).toBe(AuthorizationStatus.SUCCEEDED);
    expect(provider.count('/token')).toBe(2);
    expect((await credentialOf(operatorAt(two), connectionId)).accessToken).toBe('at-device');
  });
});
