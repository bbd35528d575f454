import { hot } from '../../db/hot.ts';
import { type InboundVerification, signingSecretsPlace } from '../../model/inbound-endpoint.ts';
import { systemCall } from '../access/principal.ts';
import type { App, ReadyInboundEndpoint } from '../call.ts';
import { noteIntegrityFailure } from './integrity-failure.ts';
import { rulesOf } from './scheme.ts';

type Row = {
  enabled: boolean;
  verification: InboundVerification;
  signing_secrets: Buffer | null;
  secret_generation: number;
  max_body_bytes: number;
  max_per_minute: number;
  retention_days: number;
  keep_headers: string[];
};

/** An endpoint by the id in its URL, its secrets open: from memory, where changes of it are heard. Null where there is none. */
export function loadInboundEndpoint(app: App, id: string): Promise<ReadyInboundEndpoint | null> {
  return app.caches.inboundEndpoints.get(id, async () => {
    const [route] = await hot<{ tenant_id: string }>(app.pool, 'routeInboundEndpoint', [id]);
    if (!route) return null;
    const tenantId = route.tenant_id;
    const [row] = await hot<Row>(app.pool, 'readInboundEndpoint', [tenantId, id]);
    return row ? ready(app, tenantId, id, row) : null;
  });
}

async function ready(app: App, tenantId: string, id: string, row: Row): Promise<ReadyInboundEndpoint> {
  const rules = rulesOf(row.verification);
  const place = signingSecretsPlace(tenantId, id, row.secret_generation);
  const sealed = row.signing_secrets;
  const resource = { type: 'inbound_endpoint', id };
  const opened =
    sealed && (await noteIntegrityFailure(systemCall(app, tenantId), resource, () => app.keyring.open(place, sealed)));
  const secrets: string[] = opened ? JSON.parse(opened.toString()) : [];
  opened?.fill(0);
  const { signatureHeader, timestampHeader } = rules.signature ?? { signatureHeader: '', timestampHeader: '' };
  const always = ['content-type', 'content-encoding', 'user-agent', timestampHeader, rules.idHeader];
  const secret = [signatureHeader, rules.token?.header].filter((name) => !row.keep_headers.includes(name ?? ''));
  const keepHeaders = [...always, ...rules.keepHeaders, ...row.keep_headers].filter(
    (name) => name !== '' && !secret.includes(name),
  );
  return {
    ...{ tenantId, id, enabled: row.enabled, rules, secrets, keepHeaders: [...new Set(keepHeaders)] },
    ...{ maxBodyBytes: row.max_body_bytes, maxPerMinute: row.max_per_minute, retentionDays: row.retention_days },
  };
}
