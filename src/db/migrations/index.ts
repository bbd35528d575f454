import { Migration0001Ground } from './0001-ground.ts';
import { Migration0002Authorizations } from './0002-authorizations.ts';
import { Migration0003Refresh } from './0003-refresh.ts';
import { Migration0004Confirmations } from './0004-confirmations.ts';
import { Migration0005Accounts } from './0005-accounts.ts';
import { Migration0006Requests } from './0006-requests.ts';
import { Migration0007Checks } from './0007-checks.ts';
import { Migration0008Deliveries } from './0008-deliveries.ts';
import { Migration0009Inbound } from './0009-inbound.ts';
import { Migration0010Batches } from './0010-batches.ts';
import { Migration0011Events } from './0011-events.ts';
import { Migration0012AuditChain } from './0012-audit-chain.ts';
import { Migration0013EventEndpoints } from './0013-event-endpoints.ts';
import { Migration0016Limits } from './0016-limits.ts';

/** All migrations, in order. */
export const migrations = [
  { name: '0001-ground', class: Migration0001Ground },
  { name: '0002-authorizations', class: Migration0002Authorizations },
  { name: '0003-refresh', class: Migration0003Refresh },
  { name: '0004-confirmations', class: Migration0004Confirmations },
  { name: '0005-accounts', class: Migration0005Accounts },
  { name: '0006-requests', class: Migration0006Requests },
  { name: '0007-checks', class: Migration0007Checks },
  { name: '0008-deliveries', class: Migration0008Deliveries },
  { name: '0009-inbound', class: Migration0009Inbound },
  { name: '0010-batches', class: Migration0010Batches },
  { name: '0011-events', class: Migration0011Events },
  { name: '0012-audit-chain', class: Migration0012AuditChain },
  { name: '0013-event-endpoints', class: Migration0013EventEndpoints },
  { name: '0016-limits', class: Migration0016Limits },
];
