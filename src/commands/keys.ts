import { setTimeout as pause } from 'node:timers/promises';
import type { Pool } from 'pg';
import { StartError } from '../base/error.ts';
import { Keyring } from '../crypto/keyring.ts';
import { dataKeyStore } from '../db/data-keys.ts';
import { type Installation, openInstallation } from '../db/installation.ts';
import type { Orm } from '../db/orm.ts';
import { auditKeysOf } from '../domain/audit/audit-id.ts';
import { type KeyStatus, keyStatus } from '../domain/keys/key-status.ts';
import { type RotationReport, rotateKeys } from '../domain/keys/rotate-keys.ts';
import { besideServers, type Place, withOrm } from './installation.ts';
import { note, Progress, print, printJson } from './output.ts';

type Opened = Place & { orm: Orm; pool: Pool; installation: Installation };

/** Prints the master key in force, those configured here, and what each live replica knows. */
export function status({ json = false }): Promise<void> {
  return withKeys(async ({ pool, masterKeys }) => {
    const found = await keyStatus(pool, masterKeys);
    if (json) printJson(found);
    else print(textOf(found));
  });
}

function textOf({ inForce, configured, replicas, tenants }: KeyStatus): string {
  const lines = [`In force      ${inForce}`, ...configured.map((name) => `Configured    ${name}`)];
  for (const { id, masterKeyNames, lastSeen } of replicas)
    lines.push(`Replica       ${id} knows ${masterKeyNames.join(', ')}; last seen ${lastSeen.toISOString()}`);
  return [...lines, `Tenants       ${tenants}`].join('\n');
}

/** Puts the current master key in force. Exit code 1: there are values that do not open. */
export function rotate({ json = false }): Promise<void> {
  return withKeys(async ({ config, orm, pool, masterKeys, installation }) => {
    if (!config.keys.previousMaster && installation.masterKeyName !== masterKeys.current.name)
      throw new StartError('LATCHKEY_PREVIOUS_MASTER_KEY is needed to rotate.');
    const keyring = new Keyring(masterKeys, dataKeyStore(pool), installation.id, config.keys.sealsPerDataKey);
    const auditKeys = auditKeysOf(installation.secret);
    const told = new Progress();
    const progress = (text: string, passes = false) => (passes ? told.step(text) : told.say(text));
    const rotating = rotateKeys({ orm, pool, masterKeys, keyring, auditKeys, progress, pause });
    const report = await rotating.finally(() => told.clear());
    if (report.broken.length > 0) process.exitCode = 1;
    printRotation(masterKeys.current.name, report, json);
  });
}

function printRotation(inForce: string, report: RotationReport, json: boolean): void {
  for (const value of report.broken) note(`does not open, and stays as it is: ${value}`);
  const { tenants, values } = report;
  if (json) printJson({ inForce, ...report });
  else
    print(
      `done: ${inForce} is in force (${tenants} tenants, ${values} values). The previous key opens nothing any more.`,
    );
}

function withKeys(work: (opened: Opened) => Promise<void>): Promise<void> {
  return besideServers((place) =>
    withOrm(place.databaseUrl, async (orm, pool) => {
      await work({ ...place, orm, pool, installation: await openInstallation(pool, place.masterKeys) });
    }),
  );
}
