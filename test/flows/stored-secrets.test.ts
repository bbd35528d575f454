import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase } from '../harness/database.ts';
import { failureOf } from '../harness/errors.ts';
import { ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, clientsOf, newMasterKey, TestServer, testEnv, transportTo } from '../harness/server.ts';

describe('What is stored', () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await TestServer.start({ env: { CREDENTIAL_CACHE_ENTRIES: '0' } });
  });
  afterEach(() => server.stop());

  const ids = async (count: number) => {
    const { connections } = server.operator();
    const made: string[] = [];
    for (let i = 0; i < count; i++)
      made.push((await connections.createConnection({ name: `c${i}`, credential: bearer(`t${i}`) })).connection!.id);
    return made;
  };
  const read = (connectionId: string) => server.operator().connections.getCredentials({ connectionId });

  it('does not open when a bit of it is flipped, and says so to the audit log alone', async () => {
    const [id] = await ids(1);
    const [row] = await server.database.sql<{ sealed: Buffer }>(
      'select sealed from latchkey.credential where connection_id = $1',
      [id],
    );
    for (let byte = 0; byte < row!.sealed.length; byte += 5) {
      const altered = Buffer.from(row!.sealed);
      altered[byte]! ^= 1 << (byte % 8);
      await server.database.sql('update latchkey.credential set sealed = $1 where connection_id = $2', [altered, id]);
      expect(await failureOf(read(id!))).toMatchObject({
        code: 'Internal',
        reason: 'INTERNAL',
        message: 'internal error',
      });
    }
    await server.database.sql('update latchkey.credential set sealed = $1 where connection_id = $2', [row!.sealed, id]);
    expect((await read(id!)).headers[0]?.value).toBe('Bearer t0');
    const { entries } = await server.operator().audit.listAuditEntries({ pageSize: 100 });
    expect(
      entries.filter((entry) => entry.action === 'integrity_failure' && entry.resourceId === id).length,
    ).toBeGreaterThan(5);
    expect(await (await fetch(`${server.httpUrl}/metrics`)).text()).toMatch(/latchkey_integrity_failures_total [1-9]/);
  });

  it('does not open in another row, generation, column or tenant', async () => {
    const [a, b] = await ids(2);
    const swap = `update latchkey.credential x set sealed = y.sealed from latchkey.credential y where x.connection_id = $1 and y.connection_id = $2`;
    await server.database.sql(swap, [a, b]);
    expect((await failureOf(read(a!))).reason).toBe('INTERNAL');
    expect((await read(b!)).headers[0]?.value).toBe('Bearer t1');
    await server.database.sql('update latchkey.credential set generation = generation + 1 where connection_id = $1', [
      b,
    ]);
    expect((await failureOf(read(b!))).reason).toBe('INTERNAL');
    const { connections, secrets } = server.operator();
    await secrets.createSecret({ name: 's', value: 'v' });
    const [c] = [
      (await connections.createConnection({ name: 'other', credential: bearer('x'), webhookSignatureSecret: 'whsec' }))
        .connection!.id,
    ];
    await server.database.sql(
      'update latchkey.credential k set sealed = s.value from latchkey.secret s where k.connection_id = $1',
      [c],
    );
    expect((await failureOf(read(c!))).reason).toBe('INTERNAL');
  });
});

describe('The audit of reads', () => {
  const modes = { batched: {}, strict: { AUDIT_READS: 'strict' } };

  it.each(Object.entries(modes))('%s: no secret is handed out while it cannot be written', async (mode, env) => {
    const server = await TestServer.start({ env });
    try {
      const { connections, audit } = server.operator();
      const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
      const connectionId = connection!.id;
      await connections.getCredentials({ connectionId });
      await server.database.sql('revoke insert on latchkey.audit_entry from latchkey_service');
      const outcome = () =>
        connections.getCredentials({ connectionId }).then(
          () => 'answered',
          async (error) => (await failureOf(Promise.reject(error))).reason,
        );
      if (mode === 'strict') expect(await outcome()).toBe('AUDIT_UNAVAILABLE');
      await expect.poll(outcome, { timeout: 5_000 }).toBe('AUDIT_UNAVAILABLE');
      const refused = await failureOf(connections.getCredentials({ connectionId }));
      expect(refused).toMatchObject({ code: 'Unavailable', retryAfterMs: 1000 });
      await server.database.sql('grant insert on latchkey.audit_entry to latchkey_service');
      await expect.poll(outcome, { timeout: 5_000 }).toBe('answered');
      const reads = async () =>
        (await audit.listAuditEntries({ pageSize: 100 })).entries.filter((entry) => entry.action === 'credentials_read')
          .length;
      await expect.poll(reads, { timeout: 5_000 }).toBeGreaterThanOrEqual(2);
    } finally {
      await server.stop();
    }
  });

  it('strict: each secret handed out before a kill -9 is in the log', async () => {
    const database = await createTestDatabase();
    const server = await ServerProcess.ready({ ...testEnv(database, newMasterKey()), AUDIT_READS: 'strict' });
    const { connections } = clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));
    const { connection } = await connections.createConnection({ name: 'c', credential: bearer('t') });
    let answered = 0;
    const callers = Array.from({ length: 8 }, async () => {
      for (;;) {
        await connections.getCredentials({ connectionId: connection!.id });
        answered += 1;
      }
    });
    const over = Promise.allSettled(callers);
    await expect.poll(() => answered, { timeout: 10_000 }).toBeGreaterThan(100);
    await server.stop('SIGKILL');
    await over;
    const [count] = await database.sql<{ n: string }>(
      `select count(*) as n from latchkey.audit_entry where action = 'credentials_read'`,
    );
    expect(Number(count?.n)).toBeGreaterThanOrEqual(answered);
    await database.drop();
  });
});
