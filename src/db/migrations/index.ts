import { Migration0001Ground } from './0001-ground.ts';

/** All migrations, in order. */
export const migrations = [{ name: '0001-ground', class: Migration0001Ground }];
