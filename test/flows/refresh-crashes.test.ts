import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GraceProvider } from '../harness/grace-provider.ts';
import { frozen, NO_SWEEPS, Refreshing, type ReplicaProcess, SCALED, tokenOf } from '../harness/refreshing.ts';

let world: Refreshing;
let survivor: ReplicaProcess;

beforeAll(async () => {
  world = await Refreshing.start(await GraceProvider.start({ graceMs: 6_000 }), SCALED);
  survivor = await world.replica();
});
afterAll(() => world.stop());

describe('A replica that dies in a refresh', () => {
  it.each(['sent', 'before_commit'])('leaves the connection to another one, when it dies at `%s`', async (step) => {
    const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: `${step}:kill` });
    const [imported] = await world.import(survivor, 1);
    const { connectionId, family } = imported!;
    const asked = tokenOf(victim, connectionId).catch(() => null);
    expect((await victim.process.exited).signal).toBe('SIGKILL');
    expect(await asked).toBeNull();
    expect(world.provider.hitsOf(family).length).toBeLessThanOrEqual(1);
    const token = await tokenOf(survivor, connectionId);
    expect(world.provider.familyOf(token)).toBe(family);
    expect(world.provider.goesOn(token)).toBe(true);
    expect(world.provider.hitsOf(family)).toHaveLength(2);
  });
});

describe('A replica that is frozen in a refresh', () => {
  it('sends nothing once its lease has ended', async () => {
    const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: 'before_send:stop' });
    const [imported] = await world.import(survivor, 1);
    const { connectionId, family } = imported!;
    const asked = tokenOf(victim, connectionId).catch(() => null);
    await frozen(victim.process);
    await expect.poll(() => oldestAttemptS(survivor), { timeout: 10_000, interval: 20 }).toBeGreaterThan(0);
    const token = await tokenOf(survivor, connectionId);
    expect(world.provider.hitsOf(family)).toHaveLength(1);
    victim.process.signal('SIGCONT');
    await asked;
    expect(await tokenOf(victim, connectionId)).toBe(token);
    expect(world.provider.hitsOf(family)).toHaveLength(1);
    expect(world.provider.goesOn(token)).toBe(true);
  });
});

async function oldestAttemptS({ process }: ReplicaProcess): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${process.httpPort}/metrics`)).text();
  return Number(/^latchkey_token_refresh_oldest_attempt_seconds (.*)$/m.exec(metrics)?.[1]);
}
