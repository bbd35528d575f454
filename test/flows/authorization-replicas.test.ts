import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { connect, credentialOf, setUp } from '../harness/authorizations.ts';
import type { ServerProcess } from '../harness/process.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { ScriptedProvider } from '../harness/scripted-provider.ts';

let replicas: Replicas;
let one: ServerProcess;
let two: ServerProcess;
let provider: ScriptedProvider;
let integrationId: string;
let names = 0;

beforeAll(async () => {
  [replicas, provider] = await Promise.all([Replicas.create(), ScriptedProvider.start()]);
  [one, two] = await Promise.all([replicas.start(), replicas.start()]);
});
afterAll(async () => {
  await replicas.stop();
  await provider.stop();
});
beforeEach(async () => {
  provider.reset();
  integrationId = await setUp(operatorAt(two), provider.definition(`scripted-${++names}`));
});

const statusAt = async (replica: ServerProcess, authorizationId: string) =>
  (await operatorAt(replica).connections.getAuthorization({ authorizationId })).authorization!;

describe('An authorization across replicas', () => {
  it('is exchanged once, however many replicas the answer is brought to', async () => {
    const { url, connectionId, id } = await connect(operatorAt(one), integrationId, `c-${names}`);
    const arrival = await Replicas.depart(two, url);
    const pages = await Promise.all(Array.from({ length: 40 }, (_, i) => Replicas.arrive(i % 2 ? one : two, arrival)));
    expect(pages.filter((page) => page.includes('Your account is connected'))).toHaveLength(40);
    expect(provider.count('/token')).toBe(1);
    for (const replica of [one, two]) {
      expect((await statusAt(replica, id)).status).toBe(AuthorizationStatus.SUCCEEDED);
      expect((await credentialOf(operatorAt(replica), connectionId)).accessToken).toMatch(/^at-/);
    }
  });

  it('outlives a restart between start and callback', async () => {
    const { url, connectionId } = await connect(operatorAt(one), integrationId, `c-${names}`);
    const arrival = await Replicas.depart(one, url);
    expect((await one.stop()).code).toBe(0);
    one = await replicas.start();
    expect(await Replicas.arrive(one, arrival)).toContain('Your account is connected');
    expect((await credentialOf(operatorAt(one), connectionId)).accessToken).toMatch(/^at-/);
    expect(provider.count('/token')).toBe(1);
  });

  it('that was cut off in its exchange ends, and is not exchanged again', async () => {
    const { promise: until, resolve: release } = Promise.withResolvers<void>();
    provider.answers('/token', { body: { access_token: 'late', token_type: 'bearer' }, until });
    const { url, id, connectionId } = await connect(operatorAt(one), integrationId, `c-${names}`);
    const arrival = await Replicas.depart(one, url);
    const cutOff = expect(Replicas.arrive(one, arrival)).rejects.toThrow();
    await expect.poll(() => provider.count('/token')).toBe(1);
    await one.stop('SIGKILL');
    await cutOff;
    const waiting = Replicas.arrive(two, arrival);
    await expect.poll(async () => (await statusAt(two, id)).status).toBe(AuthorizationStatus.PENDING);
    // Minutes go by.
    const minutes = `update latchkey.app_authorization set claim_time = claim_time - interval '3 minutes' where id = $1`;
    await replicas.database.sql(minutes, [id]);
    expect(await waiting).toContain('AUTHORIZATION_FAILED');
    expect(await statusAt(two, id)).toMatchObject({
      ...{ status: AuthorizationStatus.FAILED, reason: 'AUTHORIZATION_FAILED' },
    });
    release();
    expect(await Replicas.arrive(two, arrival)).toContain('AUTHORIZATION_FAILED');
    expect(provider.count('/token')).toBe(1);
    provider.reset();
    const again = await connect(operatorAt(two), integrationId, `c-${names}`);
    expect(again.connectionId).toBe(connectionId);
    expect(await Replicas.arrive(two, await Replicas.depart(two, again.url))).toContain('Your account is connected');
  });
});
