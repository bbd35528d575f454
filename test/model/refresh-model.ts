import { judgeAnswer } from '../../src/domain/tokens/judge-answer.ts';
import { mayStillSend } from '../../src/domain/tokens/lease.ts';
import type { OAuthFailure } from '../../src/oauth/oauth-error.ts';

/**
 * A model of the refresh protocol (refresh.md) for one connection: its row, replicas that run src/domain/tokens/refresh.ts, and a provider that rotates.
 * A world is a value; `steps` answers all that may happen next. Time is in ticks. Who is awake does what he has to do before the clock moves; who is frozen
 * does nothing for as long as it pleases the explorer. What the database does is atomic, as one statement is.
 */
export type Setting = {
  /** L, D, M, S of refresh.md, in ticks. */
  lease: number;
  call: number;
  guard: number;
  sweep: number;
  /** After a failure that passes. */
  pause: number;
  /** How long after its first use a refresh token is still taken. */
  grace: number;
  /** Whether a use after the grace revokes the family, or is just refused. */
  revokes: boolean;
  replicas: number;
  /** How often tokens come due. */
  rounds: number;
  /** By a caller alone, for a connection that the sweeper would not look at: RefreshConnection. */
  forced: boolean;
  crashes: number;
  freezes: number;
  /** Requests, answers and acknowledgements of commits. */
  losses: number;
  rules: Rules;
};

/** What the protocol holds to. The tests take one out at a time. */
export type Rules = {
  /** `mayStillSend` is asked before a call. */
  checksLease: boolean;
  /** Its guard band is not zero. */
  guards: boolean;
  /** A commit is conditional on its epoch. */
  fencesEpoch: boolean;
  /** A commit is conditional on its generation. */
  fencesGeneration: boolean;
  /** A late answer is kept as a candidate. */
  keepsLate: boolean;
  /** A lease that is given back stays unresolved where an attempt before it, or a call of its own, is. */
  leavesUnresolved: boolean;
  /** After an attempt of unknown outcome a candidate goes before the token it came from. */
  prefersCandidate: boolean;
  /** What failed with an unknown outcome is due by `keepalive_due` too, so that the sweeper looks at it whether or not anybody uses it. */
  sweepsUnresolved: boolean;
};

export const RULES: Rules = {
  ...{ checksLease: true, guards: true, fencesEpoch: true, fencesGeneration: true, keepsLate: true },
  ...{ leavesUnresolved: true, prefersCandidate: true, sweepsUnresolved: true },
};

/** The number of a refresh token, in the order of issue; -1: none. */
type Token = number;
const NONE: Token = -1;

type Stage = 'idle' | 'reading' | 'claimed' | 'checked' | 'calling' | 'unanswered' | 'refused' | 'answered';
const STAGES: Stage[] = ['idle', 'reading', 'claimed', 'checked', 'calling', 'unanswered', 'refused', 'answered'];
type Wire = 'none' | 'request' | 'answer' | 'lost';
const WIRES: Wire[] = ['none', 'request', 'answer', 'lost'];

export type Replica = {
  stage: Stage;
  frozen: boolean;
  /** Since its clock was read before the claim. */
  elapsed: number;
  /** Seen when the credential was read. */
  generation: number;
  epoch: number;
  /** What it sends. */
  token: Token;
  /** What the row held when it claimed. */
  stored: Token;
  /** `lease.afterUnresolved`. */
  unresolved: boolean;
  /** Calls with this token in this lease. */
  calls: number;
  candidateTried: boolean;
  storedTried: boolean;
  /** A candidate was stored when it claimed. */
  couldTry: boolean;
  /** Since the check, or since the call began. */
  age: number;
  wire: Wire;
  /** The token that the answer brings; -1: invalid_grant. */
  brings: Token;
  /** Obtained, and not stored yet. */
  hand: Token;
};

export type Row = {
  generation: number;
  token: Token;
  /** Of the attempt that brought the token. */
  tokenEpoch: number;
  epoch: number;
  /** How long the lease lasts; 0: it is free. */
  lease: number;
  /** The epoch stands for the attempt's id; 0: none. */
  attempt: number;
  /** `failure_class = 'unresolved'`. */
  unresolved: boolean;
  notBefore: number;
  due: boolean;
  status: 'ACTIVE' | 'reauthorize' | 'reauthorize_unknown';
  /** Rows of token_generation in state candidate. */
  candidates: { generation: number; epoch: number; token: Token }[];
  /** Attempts of token_generation whose replica may still ask for them: a bit for each epoch. */
  stored: number;
};

export type World = {
  row: Row;
  replicas: Replica[];
  /** Since each token was first used; -1: never. */
  used: number[];
  revoked: boolean;
  /** Since the sweeper has had something to do. */
  sweepable: number;
  left: { rounds: number; crashes: number; freezes: number; losses: number };
};

/** What must never be. */
export type Fault =
  | 'family revoked'
  | 'family revoked past a candidate'
  | 'call outside its lease'
  | 'two calls at once'
  | 'newer tokens overwritten'
  | 'obtained token dropped'
  | 'loss not reported';
export type Step = { label: string; to: World; fault?: Fault };

const IDLE: Replica = {
  ...{
    stage: 'idle',
    frozen: false,
    elapsed: 0,
    generation: 0,
    epoch: 0,
    token: NONE,
    stored: NONE,
    unresolved: false,
    calls: 0,
  },
  ...{ candidateTried: false, storedTried: false, couldTry: false, age: 0, wire: 'none', brings: NONE, hand: NONE },
};

export function newWorld({ replicas, rounds, crashes, freezes, losses }: Setting): World {
  return {
    row: {
      ...{ generation: 1, token: 0, tokenEpoch: 0, epoch: 0, lease: 0, attempt: 0, unresolved: false, notBefore: 0 },
      ...{ due: false, status: 'ACTIVE', candidates: [], stored: 0 },
    },
    replicas: Array.from({ length: replicas }, () => IDLE),
    ...{ used: [-1], revoked: false, sweepable: 0, left: { rounds, crashes, freezes, losses } },
  };
}

/** All that may happen next. */
export function steps(set: Setting, world: World): Step[] {
  const found: Step[] = [];
  comeDue(set, world, found);
  world.replicas.forEach((replica, index) => {
    if (replica.stage === 'idle' && world.replicas.findIndex(({ stage }) => stage === 'idle') < index) return;
    found.push(...stepsOf(set, world, replica, index));
  });
  if (mayTick(set, world)) found.push({ label: 'tick', to: tick(set, world) });
  for (const step of found) {
    if (!step.fault && dropsToken(world, step)) step.fault = 'obtained token dropped';
    step.to = tidy(set, step.to);
  }
  return found;
}

/** Whether a token that somebody had in hand is now in nobody's, and not stored, although nobody crashed. */
function dropsToken({ row, replicas }: World, { label, to }: Step): boolean {
  if (label.endsWith('crashes')) return false;
  const kept = [to.row.token, ...to.row.candidates.map(({ token }) => token), ...to.replicas.map(({ hand }) => hand)];
  return replicas.some(({ hand, epoch }) => hand !== NONE && !kept.includes(hand) && !(row.stored & (1 << epoch)));
}

function comeDue({ forced }: Setting, world: World, found: Step[]): void {
  const { row, left, replicas } = world;
  if (left.rounds === 0 || (row.due && !forced) || row.status !== 'ACTIVE') return;
  const after = { ...world, left: { ...left, rounds: left.rounds - 1 } };
  if (!forced) {
    found.push({ label: 'the token comes due', to: { ...after, row: { ...row, due: true } } });
    return;
  }
  const index = replicas.findIndex(({ stage }) => stage === 'idle');
  if (index >= 0) found.push({ label: `r${index} is asked to refresh`, to: put(after, index, reading(row)) });
}

type Say = (label: string, to: World, fault?: Fault) => Step;

function stepsOf(set: Setting, world: World, replica: Replica, index: number): Step[] {
  const { left } = world;
  const { stage, wire } = replica;
  const found: Step[] = [];
  const say: Say = (label, to, fault) => ({ label: `r${index} ${label}`, to, ...(fault ? { fault } : {}) });
  if (wire === 'request') found.push(...provider(set, world, replica, index));
  if ((wire === 'request' || wire === 'answer') && left.losses > 0 && replica.age <= set.call) {
    const lost: Replica = { ...replica, wire: 'lost', brings: NONE };
    found.push(say(`loses its ${wire}`, lose(put(world, index, lost))));
  }
  if (stage !== 'idle' && stage !== 'reading' && left.crashes > 0)
    found.push(say('crashes', { ...put(world, index, IDLE), left: { ...left, crashes: left.crashes - 1 } }));
  if (replica.frozen) return [...found, say('wakes', put(world, index, { ...replica, frozen: false }))];
  if (stage !== 'idle' && left.freezes > 0) {
    const frozen = put(world, index, { ...replica, frozen: true });
    found.push(say('freezes', { ...frozen, left: { ...left, freezes: left.freezes - 1 } }));
  }
  return [...found, ...act(set, world, replica, index, say)];
}

/** What refresh.ts does next. */
function act(set: Setting, world: World, replica: Replica, index: number, say: Say): Step[] {
  const { row } = world;
  const { rules } = set;
  const become = (change: Partial<Replica>, at = world) => put(at, index, { ...replica, ...change });
  const leave = (at = world) => put(at, index, IDLE);
  switch (replica.stage) {
    case 'idle':
      return isSwept(set, row) ? [say('reads the credential and its clock', put(world, index, reading(row)))] : [];
    case 'reading': {
      const claimed = claimRefresh(set, row, replica.generation);
      if (!claimed) return [say('is not given the lease', leave())];
      const { unresolved } = claimed;
      const { epoch } = claimed.row;
      const candidate = candidateOf(row);
      const turns = rules.prefersCandidate && unresolved && candidate !== NONE;
      const token = turns ? candidate : row.token;
      const lease = {
        epoch,
        unresolved,
        token,
        stored: row.token,
        candidateTried: turns,
        storedTried: !turns,
        couldTry: candidate !== NONE,
      };
      const after = become({ stage: 'claimed', ...lease }, { ...world, row: claimed.row });
      return [say(`claims epoch ${epoch}${turns ? ' and takes the candidate' : ''}`, after)];
    }
    case 'claimed':
      if (isInside(set, replica)) return [say('finds that it may send', become({ stage: 'checked', age: 0 }))];
      return [
        say('is too late, and gives the lease back', leave({ ...world, row: releaseRefresh(rules, row, replica) })),
      ];
    case 'checked': {
      const sent = become({ stage: 'calling', age: 0, wire: 'request', calls: replica.calls + 1 });
      return [say(`sends token ${replica.token}`, sent, faultOfCall(set, world, replica))];
    }
    case 'calling':
      return hear(set, replica, become, say);
    case 'unanswered':
      if (replica.calls < 2 && isInside(set, replica)) return [say('tries again', become({ stage: 'claimed' }))];
      return [fail(set, world, replica, index, 'unavailable', say)];
    case 'refused': {
      const candidate = replica.candidateTried ? NONE : candidateOf(row);
      if (!isInside(set, replica) || (candidate === NONE && replica.storedTried))
        return [fail(set, world, replica, index, 'grant_dead', say)];
      const turned = { stage: 'claimed', calls: 0 } as const;
      if (candidate === NONE)
        return [say('turns to the stored token', become({ ...turned, token: replica.stored, storedTried: true }))];
      return [say('turns to the candidate', become({ ...turned, token: candidate, candidateTried: true }))];
    }
    case 'answered':
      return commit(set, world, replica, index, say);
  }
}

function hear(
  { call }: Setting,
  { wire, brings, age }: Replica,
  become: (change: Partial<Replica>) => World,
  say: Say,
): Step[] {
  const found: Step[] = [];
  if (wire === 'answer' && brings === NONE)
    found.push(say('reads invalid_grant', become({ stage: 'refused', wire: 'none' })));
  if (wire === 'answer' && brings !== NONE)
    found.push(say(`reads token ${brings}`, become({ stage: 'answered', wire: 'none', brings: NONE, hand: brings })));
  const given = become({ stage: 'unanswered', wire: 'none', brings: NONE, unresolved: true });
  if (age > call || (wire === 'lost' && age === call)) found.push(say('gives the call up', given));
  return found;
}

function commit({ rules }: Setting, world: World, replica: Replica, index: number, say: Say): Step[] {
  const { row, left } = world;
  const { outcome, row: after } = commitRefresh(rules, row, replica);
  const older = outcome === 'committed' && replica.epoch < row.tokenEpoch;
  const fault = older ? 'newer tokens overwritten' : undefined;
  const done = { ...world, row: after };
  const found = [say(`commits: ${outcome}`, put(done, index, IDLE), fault)];
  if (left.losses > 0) found.push(say(`commits: ${outcome}, and is not told`, lose(done), fault));
  return found;
}

function fail(
  { pause }: Setting,
  world: World,
  replica: Replica,
  index: number,
  failure: OAuthFailure,
  say: Say,
): Step {
  const verdict = judgeAnswer(failure, replica.unresolved);
  // Nobody but us uses these tokens: a grant that is dead was lost by an attempt whose outcome is unknown.
  const fault = verdict === 'reauthorize' && world.row.epoch === replica.epoch ? 'loss not reported' : undefined;
  const row = failRefresh(world.row, replica, verdict, pause);
  return say(`writes down: ${verdict}`, { ...put(world, index, IDLE), row }, fault);
}

/** `latchkey.claim_refresh`. */
function claimRefresh(
  { lease, forced }: Setting,
  row: Row,
  generation: number,
): { row: Row; unresolved: boolean } | null {
  if (row.generation !== generation || row.status !== 'ACTIVE' || row.lease > 0) return null;
  if (!forced && row.attempt === 0 && row.notBefore > 0) return null;
  const epoch = row.epoch + 1;
  return { row: { ...row, epoch, lease, attempt: epoch }, unresolved: row.attempt !== 0 || row.unresolved };
}

/** `latchkey.release_refresh`. */
function releaseRefresh({ leavesUnresolved }: Rules, row: Row, { epoch, unresolved }: Replica): Row {
  if (row.epoch !== epoch) return row;
  return { ...row, lease: 0, attempt: leavesUnresolved && unresolved ? row.attempt : 0 };
}

/** `latchkey.commit_refresh`. */
function commitRefresh(
  rules: Rules,
  row: Row,
  { epoch, generation, hand }: Replica,
): { outcome: 'committed' | 'already' | 'candidate' | 'discarded'; row: Row } {
  if (row.stored & (1 << epoch)) return { outcome: 'already', row };
  const stored = row.stored | (1 << epoch);
  const fenced =
    (rules.fencesEpoch && row.epoch !== epoch) || (rules.fencesGeneration && row.generation !== generation);
  if (fenced && !rules.keepsLate) return { outcome: 'discarded', row };
  if (fenced) {
    const candidates = [...row.candidates, { generation: generation + 1, epoch, token: hand }];
    return { outcome: 'candidate', row: { ...row, candidates, stored } };
  }
  return {
    outcome: 'committed',
    row: {
      ...{ generation: row.generation + 1, token: hand, tokenEpoch: epoch, epoch: row.epoch, lease: 0, attempt: 0 },
      ...{ unresolved: false, notBefore: 0, due: false, status: 'ACTIVE', candidates: [], stored },
    },
  };
}

/** `latchkey.fail_refresh`, with what fail-refresh.ts gives it. */
function failRefresh(
  row: Row,
  { epoch, generation, unresolved }: Replica,
  verdict: ReturnType<typeof judgeAnswer>,
  pause: number,
): Row {
  if (row.epoch !== epoch || row.generation !== generation) return row;
  const dead = verdict === 'reauthorize' || verdict === 'reauthorize_unknown';
  const status = dead ? verdict : row.status;
  return { ...row, lease: 0, attempt: 0, unresolved, notBefore: dead ? 0 : pause, due: !dead, status };
}

/** The candidate of `latchkey.read_refresh`: of the generation after this one, by the latest attempt. */
function candidateOf({ candidates, generation }: Row): Token {
  const next = candidates.filter((candidate) => candidate.generation === generation + 1);
  return next.sort((a, b) => b.epoch - a.epoch)[0]?.token ?? NONE;
}

/** `latchkey.route_due_refreshes`. A forced refresh is of a connection that nobody uses. */
function isSwept({ forced, rules }: Setting, row: Row): boolean {
  if (row.attempt !== 0) return row.lease === 0 && row.status === 'ACTIVE';
  const looked = !forced || (rules.sweepsUnresolved && row.unresolved);
  return row.due && looked && row.notBefore === 0 && row.status === 'ACTIVE';
}

/** `insideLease` of refresh.ts; both clocks are one here. */
function isInside({ lease, call, guard, rules }: Setting, { elapsed }: Replica): boolean {
  const guardMs = rules.guards ? guard : 0;
  return !rules.checksLease || mayStillSend({ elapsedMs: elapsed, leaseMs: lease, callMs: call, guardMs });
}

/** The token endpoint takes a request. */
function provider({ grace, revokes }: Setting, world: World, replica: Replica, index: number): Step[] {
  const { token } = replica;
  const age = world.used[token]!;
  const answer = (brings: Token, change: Partial<World> = {}) => ({
    ...put(world, index, { ...replica, wire: 'answer' as const, brings }),
    ...change,
  });
  const label = `the provider takes token ${token} of r${index}`;
  if (world.revoked) return [{ label: `${label}: its family is dead`, to: answer(NONE) }];
  if (age > grace) {
    if (!revokes) return [{ label: `${label}: it is spent`, to: answer(NONE) }];
    const fault = replica.couldTry && !replica.candidateTried ? 'family revoked past a candidate' : 'family revoked';
    return [{ label: `${label}: reuse, the family dies`, to: answer(NONE, { revoked: true }), fault }];
  }
  const used = [...world.used.map((known, id) => (id === token && known < 0 ? 0 : known)), -1];
  return [{ label: `${label} and issues ${used.length - 1}`, to: answer(used.length - 1, { used }) }];
}

function faultOfCall({ call }: Setting, { row, replicas }: World, replica: Replica): Fault | undefined {
  if (row.epoch !== replica.epoch || row.lease < call || replica.calls >= 2) return 'call outside its lease';
  return replicas.some((other) => other !== replica && other.wire === 'request' && other.age < call)
    ? 'two calls at once'
    : undefined;
}

/** Whether nothing has to happen before the clock moves on. */
function mayTick(set: Setting, world: World): boolean {
  if (world.sweepable >= set.sweep && world.replicas.some(({ stage }) => stage === 'idle')) return false;
  return world.replicas.every(({ stage, frozen, age, wire }) => {
    if (stage === 'idle') return true;
    // Check and first byte lie in one turn of the event loop: no freeze between them is longer than the guard band.
    if (stage === 'checked') return frozen && age < set.guard;
    if (stage !== 'calling') return frozen;
    return age < set.call || (frozen && wire !== 'request');
  });
}

function tick(set: Setting, world: World): World {
  const { row, replicas, used, sweepable } = world;
  const later = { ...row, lease: Math.max(0, row.lease - 1), notBefore: Math.max(0, row.notBefore - 1) };
  return {
    ...world,
    row: later,
    replicas: replicas.map((replica) =>
      replica.stage === 'idle'
        ? replica
        : {
            ...replica,
            elapsed: Math.min(replica.elapsed + 1, set.lease + 1),
            age: Math.min(replica.age + 1, set.call + 1),
          },
    ),
    used: used.map((age) => (age < 0 ? age : Math.min(age + 1, set.grace + 1))),
    sweepable: isSwept(set, row) ? Math.min(sweepable + 1, set.sweep) : 0,
  };
}

function reading({ generation }: Row): Replica {
  return { ...IDLE, stage: 'reading', generation };
}

function put(world: World, index: number, replica: Replica): World {
  return { ...world, replicas: world.replicas.with(index, replica) };
}

function lose(world: World): World {
  return { ...world, left: { ...world.left, losses: world.left.losses - 1 } };
}

/** Forgets what can have no effect any more, so that worlds which differ in nothing else are one. */
function tidy(set: Setting, world: World): World {
  const { row, replicas, used, sweepable } = world;
  let epochs = 0;
  const alive = new Set<Token>([row.token, ...row.candidates.map(({ token }) => token)]);
  for (const { epoch, token, stored, brings, hand } of replicas) {
    epochs |= 1 << epoch;
    for (const held of [token, stored, brings, hand]) alive.add(held);
  }
  return {
    ...world,
    row: { ...row, stored: row.stored & epochs & ~1 },
    sweepable: isSwept(set, row) ? sweepable : 0,
    used: used.map((age, token) => (alive.has(token) ? age : -1)),
  };
}

/** The same for worlds that differ in the names of their replicas alone. */
export function keyOf({ row, replicas, used, revoked, sweepable, left }: World): string {
  const numbers = [
    ...[row.generation, row.token, row.tokenEpoch, row.epoch, row.lease, row.attempt, +row.unresolved, row.notBefore],
    ...[+row.due, row.status.length, row.stored, row.candidates.length],
    ...row.candidates.flatMap(({ generation, epoch, token }) => [generation, epoch, token]),
    ...[...used, -2, +revoked, sweepable, left.rounds, left.crashes, left.freezes, left.losses],
  ];
  const names = replicas.map((replica) =>
    replica.stage === 'idle'
      ? ''
      : text([
          ...[STAGES.indexOf(replica.stage), +replica.frozen, replica.elapsed, replica.generation, replica.epoch],
          ...[
            replica.token,
            replica.stored,
            +replica.unresolved,
            replica.calls,
            +replica.candidateTried,
            +replica.storedTried,
            +replica.couldTry,
            replica.age,
          ],
          ...[WIRES.indexOf(replica.wire), replica.brings, replica.hand],
        ]),
  );
  return `${text(numbers)} ${names.sort().join(' ')}`;
}

function text(numbers: number[]): string {
  return String.fromCharCode(...numbers.map((number) => number + 64));
}

export type Exploration = {
  worlds: number;
  /** The first fault, by one of the shortest ways. */
  found: { fault: Fault; trace: string[] } | null;
  /** How the connection may stand when nothing is under way and all rounds are over. */
  endings: Set<string>;
};

/** Walks through every world that can be reached, breadth first. `but`: faults that are looked past. */
export function explore(set: Setting, but: readonly Fault[] = []): Exploration {
  const known = new Set([keyOf(newWorld(set))]);
  const ways: { from: number; label: string }[] = [{ from: -1, label: '' }];
  const endings = new Set<string>();
  let layer: [World, number][] = [[newWorld(set), 0]];
  while (layer.length > 0) {
    const next: typeof layer = [];
    for (const [world, at] of layer) {
      if (isOver(world)) endings.add(endingOf(world));
      for (const { label, to, fault } of steps(set, world)) {
        if (fault && !but.includes(fault))
          return { worlds: known.size, found: { fault, trace: [...traceOf(ways, at), label] }, endings };
        const key = keyOf(to);
        if (known.has(key)) continue;
        known.add(key);
        next.push([to, ways.push({ from: at, label }) - 1]);
      }
    }
    layer = next;
  }
  return { worlds: known.size, found: null, endings };
}

function isOver({ row, replicas, left }: World): boolean {
  const quiet = row.attempt === 0 && !row.due && replicas.every(({ stage }) => stage === 'idle');
  return quiet && (left.rounds === 0 || row.status !== 'ACTIVE');
}

function endingOf({ row, used, revoked }: World): string {
  const aside = row.status !== 'ACTIVE' && !revoked && used[candidateOf(row)] === -1;
  return `${row.status}${revoked ? ', revoked' : ''}${aside ? ', a live candidate unused' : ''}`;
}

function traceOf(ways: { from: number; label: string }[], at: number): string[] {
  const trace: string[] = [];
  for (let way = ways[at]!; way.from >= 0; way = ways[way.from]!) trace.unshift(way.label);
  return trace;
}
