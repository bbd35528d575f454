import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IntegrityError } from '../../src/crypto/sealed-value.ts';
import { credentialPlace } from '../../src/model/credential.ts';
import { bearer } from '../harness/credentials.ts';
import { TestServer } from '../harness/server.ts';

const ROWS = 100;
const FLIPS = 100_000;

let server: TestServer;
let rows: { connection_id: string; sealed: Buffer; generation: number }[];
beforeAll(async () => {
  server = await TestServer.start({ env: { LOG_LEVEL: 'silent' } });
  const { connections } = server.operator();
  for (let i = 0; i < ROWS; i++)
    await connections.createConnection({
      name: `c${i}`,
      credential: bearer(`token ${i}`),
      webhookSignatureSecret: 'whsec',
    });
  rows = await server.database.sql('select connection_id, sealed, generation from latchkey.credential');
});
afterAll(() => server.stop());

const open = (row: (typeof rows)[number], sealed: Buffer) =>
  server.replica.app.keyring.open(credentialPlace('default', row.connection_id, row.generation), sealed);

describe('Stored ciphertexts', () => {
  it(`refuse ${FLIPS.toLocaleString('en')} random bit flips`, async () => {
    let accepted = 0;
    for (let i = 0; i < FLIPS; i++) {
      const row = rows[i % rows.length]!;
      const altered = Buffer.from(row.sealed);
      altered[randomInt(altered.length)]! ^= 1 << randomInt(8);
      await open(row, altered).then(
        () => {
          accepted += 1;
        },
        (error) => expect(error).toBeInstanceOf(IntegrityError),
      );
    }
    expect(accepted).toBe(0);
  });

  it('refuse every swap of rows and columns', async () => {
    const others = await server.database.sql<{ value: Buffer }>(
      'select webhook_signature_secret as value from latchkey.connection',
    );
    let tried = 0;
    for (const row of rows) {
      expect(JSON.parse((await open(row, row.sealed)).toString()).token).toMatch(/^token /);
      for (const other of [
        ...rows.filter((candidate) => candidate !== row).map((candidate) => candidate.sealed),
        ...others.map((other) => other.value),
      ]) {
        await expect(open(row, other)).rejects.toThrow(IntegrityError);
        tried += 1;
      }
    }
    expect(tried).toBe(ROWS * (2 * ROWS - 1));
  });
});
