import { setTimeout as pause } from 'node:timers/promises';
import { StartError } from './base/error.ts';
import { readConfig } from './config.ts';
import { Keyring } from './crypto/keyring.ts';
import { MasterKeys } from './crypto/master-keys.ts';
import { dataKeyStore } from './db/data-keys.ts';
import { joinEmbeddedPostgres } from './db/embedded.ts';
import { openInstallation } from './db/installation.ts';
import { openOrm, poolOf } from './db/orm.ts';
import { auditKeysOf } from './domain/audit/audit-id.ts';
import { keyStatus } from './domain/keys/key-status.ts';
import { rotateKeys } from './domain/keys/rotate-keys.ts';
import { masterKeyFile } from './master-key-file.ts';
import { startFailure } from './prepare.ts';

const USAGE = `Usage: npm run keys -- status | rotate

  status   the master key in force, those configured here, and what each live replica knows
  rotate   puts LATCHKEY_MASTER_KEY in force, with the old key in LATCHKEY_PREVIOUS_MASTER_KEY:
           wraps and seals everything anew while calls go on

Reads the same settings as the server.
`;

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(command: string | undefined): Promise<void> {
  if (command !== 'status' && command !== 'rotate') {
    process.stdout.write(USAGE);
    process.exitCode = command === undefined || command === '--help' ? 0 : 2;
    return;
  }
  const config = readConfig();
  const embedded = config.database.url ? null : await joinEmbeddedPostgres(config.dataDir);
  const orm = await openOrm(embedded?.url ?? config.database.url, 4);
  try {
    const pool = await poolOf(orm);
    const masterKeys = new MasterKeys(
      config.keys.master ?? masterKeyFile(config.dataDir).key,
      config.keys.previousMaster,
    );
    const installation = await openInstallation(pool, masterKeys);
    if (command === 'status') return print(JSON.stringify(await keyStatus(pool, masterKeys), null, 2));
    if (!config.keys.previousMaster && installation.masterKeyName !== masterKeys.current.name)
      throw new StartError('LATCHKEY_PREVIOUS_MASTER_KEY is needed to rotate.');
    const keyring = new Keyring(masterKeys, dataKeyStore(pool), installation.id, config.keys.sealsPerDataKey);
    const auditKeys = auditKeysOf(installation.secret);
    const report = await rotateKeys({ orm, pool, masterKeys, keyring, auditKeys, progress: print, pause });
    for (const value of report.broken) print(`does not open, and stays as it is: ${value}`);
    if (report.broken.length > 0) process.exitCode = 3;
    print(
      `done: ${masterKeys.current.name} is in force (${report.tenants} tenants, ${report.values} values). The previous key opens nothing any more.`,
    );
  } finally {
    await orm.close();
    await embedded?.stop();
  }
}

await main(process.argv[2]).catch((error: unknown) => {
  process.stderr.write(`${startFailure(error)}\n`);
  process.exitCode = 1;
});
