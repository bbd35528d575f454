import { systemClock } from '../base/clock.ts';
import { openInstallation } from '../db/installation.ts';
import { createApiKey } from '../domain/access/create-api-key.ts';
import { operatorCall } from '../domain/access/principal.ts';
import { auditKeysOf } from '../domain/audit/audit-id.ts';
import { requestHashKeyOf } from '../domain/once.ts';
import { besideServers, withOrm } from './installation.ts';
import { note, print, printJson } from './output.ts';

export type KeyOptions = {
  tenant: string;
  name: string;
  scopes: string[];
  project?: string[];
  /** Absent: it works until it is revoked. */
  expires?: Date;
  json?: boolean;
};

/** Makes an API key, and prints its text, this once. */
export function createKey({ tenant, name, scopes, project = [], expires, json }: KeyOptions): Promise<void> {
  return besideServers(({ config, databaseUrl, masterKeys }) =>
    withOrm(databaseUrl, async (orm, pool) => {
      const { secret } = await openInstallation(pool, masterKeys);
      const app = {
        ...{ config, clock: systemClock, orm },
        ...{ auditKeys: auditKeysOf(secret), requestHashKey: requestHashKeyOf(secret) },
        // Nothing is remembered here.
        forget: () => {},
      };
      const { apiKey, text } = await createApiKey(operatorCall(app, tenant), {
        ...{ displayName: name, scopes, projectIds: project, expireTime: expires ?? null },
        ...{ tenantId: '', requestId: '', rateLimit: null },
      });
      const { id, tenantId, displayName, projectIds, expireTime } = apiKey;
      const key = text!.reveal();
      if (json) printJson({ id, tenantId, displayName, scopes, projectIds, expireTime, key });
      else {
        note(`Made ${id} in the tenant ${tenantId}. Its text is shown this once:`);
        print(key);
      }
    }),
  );
}
