import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Exploration,
  explore,
  type Fault,
  newWorld,
  RULES,
  type Rules,
  type Setting,
  steps,
} from '../model/refresh-model.ts';

/** Times as small as they can be: the lease is longer than two calls and the guard band. */
const QUIET: Setting = {
  ...{ lease: 6, call: 2, guard: 1, sweep: 1, pause: 1, grace: 0, revokes: true, replicas: 3, rounds: 1 },
  ...{ forced: false, crashes: 0, freezes: 0, losses: 0, rules: RULES },
};

type Troubles = Partial<Pick<Setting, 'crashes' | 'freezes' | 'losses'>>;

/**
 * The grace that is enough: k(L+S)+D for k crashes. A message that is lost costs one call more. So long as a replica may freeze in a call, wake when its lease
 * has ended and write down a failure before the sweep comes, a freeze costs more than a crash: the pause, and a sweep after it. So do two messages that are
 * lost in one lease.
 */
function bound({ crashes = 0, freezes = 0, losses = 0 }: Troubles, { lease, call, sweep, pause } = QUIET): number {
  const failures = freezes + Math.floor(losses / 2);
  return (crashes + freezes) * (lease + sweep) + failures * (pause + sweep) + (losses + 1) * call;
}

/** With one rule taken out. */
const without = (...rules: (keyof Rules)[]): Rules => ({
  ...RULES,
  ...Object.fromEntries(rules.map((rule) => [rule, false])),
});

const explored = (setting: Partial<Setting>, but: Fault[] = []) => explore({ ...QUIET, ...setting }, but);
const shown = ({ found }: Exploration) => (found ? `${found.fault}\n  ${found.trace.join('\n  ')}` : 'no fault');

/** That there is no fault, having looked at so many worlds. */
function expectSound(exploration: Exploration, [least, most]: [number, number]): void {
  expect(exploration.found, shown(exploration)).toBeNull();
  expect(exploration.worlds).toBeGreaterThanOrEqual(least);
  expect(exploration.worlds).toBeLessThanOrEqual(most);
}

/** That there is a fault, and that its trace has these steps in this order. */
function expectFault(exploration: Exploration, fault: Fault, ...parts: RegExp[]): void {
  expect(exploration.found?.fault, shown(exploration)).toBe(fault);
  const trace = exploration.found!.trace;
  let at = 0;
  for (const part of parts) {
    const found = trace.findIndex((label, index) => index >= at && part.test(label));
    expect(found, `${part} in:\n${shown(exploration)}`).toBeGreaterThanOrEqual(0);
    at = found + 1;
  }
}

describe('The refresh protocol, in every interleaving of three replicas,', () => {
  it('loses nothing through two crashes, one lost message and one freeze', () => {
    const troubles = { crashes: 2, freezes: 1, losses: 1 };
    const exploration = explored({ ...troubles, grace: bound(troubles) });
    expectSound(exploration, [150_000, 250_000]);
    expect([...exploration.endings]).toEqual(['ACTIVE']);
  });

  it('loses nothing in a second round after a first one that went wrong', () => {
    for (const [troubles, range] of [
      [{ crashes: 2, losses: 1 }, [8_000, 16_000]],
      [{ freezes: 1, losses: 1 }, [35_000, 60_000]],
    ] as const)
      expectSound(explored({ ...troubles, rounds: 2, grace: bound(troubles) }), [...range]);
  });

  it('loses nothing of a connection that nobody uses and somebody refreshed by force', () => {
    for (const [troubles, range] of [
      [{ crashes: 1, losses: 2 }, [10_000, 22_000]],
      [{ freezes: 1, losses: 1 }, [35_000, 60_000]],
    ] as const)
      expectSound(explored({ ...troubles, forced: true, rounds: 2, grace: bound(troubles) }), [...range]);
  });

  it('loses nothing when two replicas freeze', () => {
    expectSound(explored({ freezes: 2, grace: bound({ freezes: 2 }) }), [20_000, 45_000]);
  });

  it.each<Troubles>([{ crashes: 1 }, { crashes: 2 }, { losses: 1 }, { freezes: 1 }, { crashes: 2, losses: 1 }])(
    'needs the whole grace, and not a tick more: %o',
    (troubles) => {
      const grace = bound(troubles);
      expectSound(explored({ ...troubles, grace }), [50, 20_000]);
      expectFault(
        explored({ ...troubles, grace: grace - 1 }),
        'family revoked',
        /the provider takes token 0 .* and issues 1/,
        /crashes|freezes|loses its answer/,
        /the provider takes token 0 .* reuse, the family dies/,
      );
    },
  );
});

describe('A provider without grace', () => {
  const troubles = { crashes: 1, freezes: 1, losses: 1 };

  it('costs the connection, and a person is told that the outcome is unknown', () => {
    expectFault(explored({ ...troubles }), 'family revoked', /issues 1/, /crashes|freezes|loses/, /reuse/);
    const exploration = explored(troubles, ['family revoked']);
    expectSound(exploration, [7_000, 25_000]);
    expect([...exploration.endings].sort()).toEqual(['ACTIVE', 'reauthorize_unknown, revoked']);
  });

  it('that only refuses what is spent costs it too, and just as loudly', () => {
    const exploration = explored({ ...troubles, revokes: false });
    expectSound(exploration, [7_000, 25_000]);
    // A late answer that comes after the verdict is kept, but nobody turns to it: the person who is asked for makes it needless.
    const endings = ['ACTIVE', 'reauthorize_unknown', 'reauthorize_unknown, a live candidate unused'];
    expect([...exploration.endings].sort()).toEqual(endings);
  });

  it('is not sent a spent token where a late answer has brought a newer one', () => {
    const exploration = explored({ ...troubles, rules: without('prefersCandidate') }, ['family revoked']);
    const late = [/freezes/, /commits: candidate/, /claims/, /sends token 0/, /reuse/];
    expectFault(exploration, 'family revoked past a candidate', ...late);
  });
});

describe('The explorer finds what goes wrong', () => {
  const troubles = { crashes: 1, freezes: 2, losses: 1 };
  const grace = bound(troubles);

  it('where nobody asks whether a call still fits into its lease', () => {
    const rules = without('checksLease');
    const outside = explored({ ...troubles, grace, rules });
    expectFault(outside, 'call outside its lease', /claims epoch 1/, /freezes/, /tick/, /wakes/, /sends token 0/);
    // And what it costs: another one has refreshed long ago when the frozen one wakes.
    const lost = explored({ freezes: 1, grace: bound({ freezes: 1 }), rules }, [
      'call outside its lease',
      'two calls at once',
    ]);
    const story = [/r0 claims epoch 1/, /r0 freezes/, /r1 claims epoch 2/, /r1 commits: committed/, /r0 wakes/];
    expectFault(lost, 'family revoked', ...story, /r0 sends token 0/, /of r0: reuse, the family dies/);
  });

  it('where the guard band is gone', () => {
    const exploration = explored({ ...troubles, grace, rules: without('guards') });
    const between = [/claims epoch 1/, /finds that it may send/, /freezes/, /tick/, /wakes/, /sends token 0/];
    expectFault(exploration, 'call outside its lease', ...between);
  });

  it('where a commit is not fenced by its epoch', () => {
    const exploration = explored({ ...troubles, grace, rules: without('fencesEpoch') });
    const story = [/r0 freezes/, /r1 claims epoch 2/, /r0 commits: committed/, /r1 sends token 0/];
    expectFault(exploration, 'call outside its lease', ...story);
  });

  it('where it is not fenced at all', () => {
    const rules = without('fencesEpoch', 'fencesGeneration');
    const exploration = explored({ ...troubles, grace, rules }, ['call outside its lease', 'two calls at once']);
    const story = [/r0 reads token 1/, /r1 claims epoch 2/, /r1 commits: committed/, /r0 commits: committed/];
    expectFault(exploration, 'newer tokens overwritten', ...story);
  });

  it('where a late answer is thrown away', () => {
    const exploration = explored({ ...troubles, grace, rules: without('keepsLate') });
    const story = [/r0 reads token 1/, /r1 claims epoch 2/, /r0 commits: discarded/];
    expectFault(exploration, 'obtained token dropped', ...story);
  });

  it('where a lease is given back as if its call had not been made', () => {
    const rules = without('leavesUnresolved');
    const back = [/issues 1/, /crashes|freezes|loses/, /gives the lease back/];
    const silent = explored({ ...troubles, rules }, ['family revoked']);
    expectFault(silent, 'loss not reported', ...back, /writes down: reauthorize$/);
    // Nobody looks at the connection until somebody asks again, when the grace is over.
    const forced = explored({ freezes: 1, losses: 1, forced: true, rounds: 2, grace: 3 * bound({ losses: 1 }), rules });
    expectFault(forced, 'family revoked', ...back, /is asked to refresh/, /reuse/);
  });

  it('where the sweep passes over what failed with an unknown outcome', () => {
    const setting = { losses: 2, forced: true, rounds: 2, rules: without('sweepsUnresolved') };
    const exploration = explored({ ...setting, grace: bound({ losses: 2 }) });
    expectFault(exploration, 'family revoked', /issues 1/, /writes down: wait/, /tick/, /is asked to refresh/, /reuse/);
  });
});

describe('The refresh protocol, on long walks', () => {
  it('loses nothing with more replicas, more trouble and the real proportions', () => {
    const [lease, call, guard, sweep, pause] = [18, 7, 2, 2, 2];
    const real = { ...QUIET, lease, call, guard, sweep, pause, replicas: 5, rounds: 4 };
    let taken = 0;
    let commits = 0;
    const walk = fc.record({
      forced: fc.boolean(),
      crashes: fc.nat(4),
      freezes: fc.nat(3),
      losses: fc.nat(3),
      choices: fc.array(fc.nat(1_000), { minLength: 100, maxLength: 400, size: 'max' }),
    });
    fc.assert(
      fc.property(walk, ({ choices, ...troubles }) => {
        const setting = { ...real, ...troubles, grace: bound(troubles, real) };
        const trace: string[] = [];
        let world = newWorld(setting);
        for (const choice of choices) {
          const open = steps(setting, world);
          if (open.length === 0) break;
          const { label, to, fault } = open[choice % open.length]!;
          trace.push(label);
          if (fault) throw new Error(`${fault}\n  ${trace.join('\n  ')}`);
          if (label.includes('commits')) commits += 1;
          taken += 1;
          world = to;
        }
      }),
      { numRuns: 400 },
    );
    expect(taken).toBeGreaterThan(20_000);
    expect(commits).toBeGreaterThan(300);
  });
});
