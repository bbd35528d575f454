import { LRUCache } from 'lru-cache';

/** Requests under way at once, by a process. */
const SLOTS = 256;
/** Of them those to destinations that did not answer of late: who does not answer keeps the others for who does. */
const NEW_SLOTS = 128;
const NEW_TENANT_SLOTS = 32;
const TENANT_SLOTS = 192;
/** To one destination, while it answers and otherwise. */
const WELL_SLOTS = 32;
const NEW_LANE_SLOTS = 4;
/** Of each of these limits, what requests may take as they come. The rest is for those that wait. */
const AT_ONCE = 0.5;
/** After so many failures in a row a destination is left alone, each time twice as long. */
const FAILURES = 3;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
const LANES_KNOWN = 2_000;

type Lane = { inFlight: number; well: boolean; failures: number; pausedUntil: number };

/** A slot that is taken. */
export type Slot = { readonly tenantId: string; readonly lane: number; readonly isNew: boolean };

/** How much may be leased: of tenants (`tenant`), their lanes that did not answer of late (`tenant new`; ` new` of any other) and lanes (`tenant lane`) where that is not the usual. */
export type Rooms = {
  rooms: Record<string, number>;
  most: number;
  mostNew: number;
  perTenant: number;
  perLane: number;
};

/**
 * Who gets the slots of a process. Each destination has a lane; one that answers gets more slots, one that fails again and again is left alone for a
 * while, and neither a destination nor a tenant gets them all.
 */
export class Lanes {
  readonly #now: () => number;
  readonly #lanes = new LRUCache<string, Lane>({ max: LANES_KNOWN });
  readonly #tenants = new Map<string, number>();
  readonly #newOfTenants = new Map<string, number>();
  #inFlight = 0;
  #new = 0;

  /** @param now monotonic, in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** A slot for what comes just now; null: it has to wait its turn. */
  takeAtOnce(tenantId: string, lane: number): Slot | null {
    const known = this.#lanes.get(key(tenantId, lane));
    const well = known?.well ?? false;
    const full =
      this.#inFlight >= SLOTS * AT_ONCE ||
      (this.#tenants.get(tenantId) ?? 0) >= TENANT_SLOTS * AT_ONCE ||
      (known?.inFlight ?? 0) >= (well ? WELL_SLOTS : NEW_LANE_SLOTS) * AT_ONCE ||
      (!well && this.#new >= NEW_SLOTS * AT_ONCE) ||
      (!well && (this.#newOfTenants.get(tenantId) ?? 0) >= NEW_TENANT_SLOTS * AT_ONCE) ||
      (known?.pausedUntil ?? 0) > this.#now();
    return full ? null : this.take(tenantId, lane);
  }

  /** A slot for what was leased. */
  take(tenantId: string, lane: number): Slot {
    const name = key(tenantId, lane);
    const known = this.#lanes.get(name) ?? { inFlight: 0, well: false, failures: 0, pausedUntil: 0 };
    known.inFlight += 1;
    this.#lanes.set(name, known);
    this.#inFlight += 1;
    count(this.#tenants, tenantId, 1);
    if (!known.well) this.#new += 1;
    if (!known.well) count(this.#newOfTenants, tenantId, 1);
    return { tenantId, lane, isNew: !known.well };
  }

  /** @param well whether the destination did its part; null: it was not asked */
  give({ tenantId, lane, isNew }: Slot, well: boolean | null): void {
    this.#inFlight -= 1;
    if (isNew) this.#new -= 1;
    if (isNew) count(this.#newOfTenants, tenantId, -1);
    count(this.#tenants, tenantId, -1);
    const known = this.#lanes.get(key(tenantId, lane));
    if (!known) return;
    known.inFlight -= 1;
    if (well === true) Object.assign(known, { well: true, failures: 0, pausedUntil: 0 });
    if (well === false) this.#failed(known);
  }

  /** Those that fail while the pause runs were under way before it. */
  #failed(lane: Lane): void {
    lane.well = false;
    if (lane.pausedUntil > this.#now()) return;
    lane.failures += 1;
    if (lane.failures < FAILURES) return;
    lane.pausedUntil = this.#now() + Math.min(FIRST_PAUSE_MS * 2 ** (lane.failures - FAILURES), LONGEST_PAUSE_MS);
  }

  /** Whether a lane that is taken for one that never answered could be kept waiting by those. */
  #waitsForNew(name: string): boolean {
    return this.#newOfTenants.has(tenantOf(name)) || this.#new >= NEW_SLOTS / 2;
  }

  /** What may be leased now. */
  room(): Rooms {
    const rooms: Record<string, number> = { ' new': NEW_TENANT_SLOTS };
    for (const [tenantId, taken] of this.#newOfTenants) rooms[`${tenantId} new`] = NEW_TENANT_SLOTS - taken;
    for (const [tenantId, taken] of this.#tenants) rooms[tenantId] = TENANT_SLOTS - taken;
    for (const [name, { inFlight, well, pausedUntil }] of this.#lanes.entries()) {
      if (pausedUntil > this.#now()) rooms[name] = 0;
      else if (inFlight > 0) rooms[name] = well ? WELL_SLOTS - inFlight : 0;
      // One that has nothing to do is named only where it would wait for those that do not answer: there may be thousands.
      else if (well && this.#waitsForNew(name)) rooms[name] = WELL_SLOTS;
    }
    const free = { most: SLOTS - this.#inFlight, mostNew: NEW_SLOTS - this.#new };
    return { rooms, ...free, perTenant: TENANT_SLOTS, perLane: NEW_LANE_SLOTS };
  }
}

function tenantOf(name: string): string {
  return name.slice(0, name.lastIndexOf(' '));
}

function count(counts: Map<string, number>, name: string, change: number): void {
  const left = (counts.get(name) ?? 0) + change;
  if (left > 0) counts.set(name, left);
  else counts.delete(name);
}

function key(tenantId: string, lane: number): string {
  return `${tenantId} ${lane}`;
}
