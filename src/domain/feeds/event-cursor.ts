import { LatchkeyError } from '../../base/error.ts';
import type { App } from '../call.ts';
import { changeIn } from '../change.ts';

const DAY_MS = 86_400_000;

/** Where a reader of a tenant's events is: after the event with this id; empty: before all. */
export type Place = { id: string; position: number };

/**
 * A cursor names an event, not its position, which would tell how much happens in other tenants. `time`: all events after it that are older are there, in ms
 * since the epoch.
 */
export function cursorText(app: App, tenantId: string, { id }: Place, time: number): string {
  return app.pageTokens.issue(scopeOf(tenantId), [id, time]);
}

/** Where a cursor goes on. Fails with CURSOR_INVALID, CURSOR_EXPIRED. */
export async function placeOf(app: App, tenantId: string, cursor: string): Promise<Place> {
  const [id, time] = readCursor(app, tenantId, cursor);
  if (time < app.clock.now() - app.config.retentionDays * DAY_MS) throw new LatchkeyError('CURSOR_EXPIRED');
  // An event that is gone although the cursor is fresh was the last for long: what there is came after it.
  return {
    id,
    position: id ? await positionOf(app, tenantId, 'and id = ?', [id]).then((row) => row?.position ?? 0) : 0,
  };
}

/** The end of a tenant's events. */
export async function headOf(app: App, tenantId: string): Promise<Place> {
  const where = 'and position is not null order by position desc limit 1';
  return (await positionOf(app, tenantId, where, [])) ?? { id: '', position: 0 };
}

function positionOf(app: App, tenantId: string, where: string, params: string[]): Promise<Place | null> {
  return changeIn(app, tenantId, async (em) => {
    const [row] = await em.execute<{ id: string; position: string | null }[]>(
      `select id, position from latchkey.outbox where tenant_id = ? ${where}`,
      [tenantId, ...params],
    );
    return row ? { id: row.id, position: Number(row.position ?? 0) } : null;
  });
}

function readCursor(app: App, tenantId: string, cursor: string): [string, number] {
  try {
    return app.pageTokens.read(scopeOf(tenantId), cursor) as [string, number];
  } catch (error) {
    throw new LatchkeyError('CURSOR_INVALID', { cause: error });
  }
}

function scopeOf(tenantId: string): string {
  return JSON.stringify(['events', tenantId]);
}
