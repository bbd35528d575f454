import { hash, hkdfSync } from 'node:crypto';
import { idDigits, newId } from '../../base/id.ts';
import type { AuditKeys } from '../call.ts';

/** Of 5 bits each. */
const PROOF_DIGITS = 8;

/** The keys of an installation, from its secret. They stay when the master key is rotated. */
export function auditKeysOf(installationSecret: Buffer): AuditKeys {
  const derive = (purpose: string) => Buffer.from(hkdfSync('sha256', installationSecret, '', purpose, 32));
  return { ids: derive('audit ids').toString('base64'), seals: derive('audit seals') };
}

/** A new id for an audit entry. Its last 8 digits, 40 bits, prove that Latchkey made it for this tenant. */
export function newAuditId({ ids }: AuditKeys, tenantId: string, now?: number): string {
  const stem = newId('aud', now).slice(0, -PROOF_DIGITS);
  return stem + proofOf(ids, tenantId, stem);
}

/** Whether Latchkey made the id, for this tenant. */
export function isOurAuditId({ ids }: AuditKeys, tenantId: string, id: string): boolean {
  const stem = id.slice(0, -PROOF_DIGITS);
  return id === stem + proofOf(ids, tenantId, stem);
}

/** Key and stem have fixed lengths, and of the hash only 40 bits are shown: nothing can be appended to what was hashed. An HMAC takes three times as long. */
function proofOf(key: string, tenantId: string, stem: string): string {
  return idDigits(hash('sha256', `${key}${tenantId}${stem}`, 'buffer'));
}
