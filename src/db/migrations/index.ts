import { Migration0001Ground } from './0001-ground.ts';
import { Migration0002Authorizations } from './0002-authorizations.ts';
import { Migration0003Refresh } from './0003-refresh.ts';
import { Migration0004Confirmations } from './0004-confirmations.ts';
import { Migration0005Accounts } from './0005-accounts.ts';
import { Migration0006Requests } from './0006-requests.ts';
import { Migration0011Events } from './0011-events.ts';

/** All migrations, in order. */
export const migrations = [
  { name: '0001-ground', class: Migration0001Ground },
  { name: '0002-authorizations', class: Migration0002Authorizations },
  { name: '0003-refresh', class: Migration0003Refresh },
  { name: '0004-confirmations', class: Migration0004Confirmations },
  { name: '0005-accounts', class: Migration0005Accounts },
  { name: '0006-requests', class: Migration0006Requests },
  { name: '0011-events', class: Migration0011Events },
];
