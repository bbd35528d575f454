import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Keyring } from '../../src/crypto/keyring.ts';
import { MasterKeys } from '../../src/crypto/master-keys.ts';
import { dataKeyStore } from '../../src/db/data-keys.ts';
import { openInstallation } from '../../src/db/installation.ts';
import { rotateKeys } from '../../src/domain/keys/rotate-keys.ts';
import { Housekeeper } from '../../src/jobs/housekeeper.ts';
import { failureOf } from '../harness/errors.ts';
import { sendMessage, signedHeaders, signingSecret } from '../harness/inbound.ts';
import { TestServer } from '../harness/server.ts';

const secret = signingSecret();
let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start({ env: { RETENTION_DAYS: '7' } });
});
afterAll(() => server.stop());

async function newEndpoint(name: string): Promise<string> {
  const request = { name, signingSecrets: { secrets: [secret] } };
  return (await server.operator().webhooks.createInboundEndpoint(request)).endpoint!.id;
}

const send = (endpointId: string, id: string, body = '{}') =>
  sendMessage(server.replica.httpPort, endpointId, signedHeaders(secret, id, body), body);

async function receive(endpointId: string, id: string, body?: string): Promise<string> {
  const answer = await send(endpointId, id, body);
  expect(answer.status).toBe(202);
  return ((await answer.json()) as { message_id: string }).message_id;
}

describe('Messages that were received', () => {
  it('are kept as long as the settings say, are deleted in batches, and can then come again', async () => {
    const endpointId = await newEndpoint('retention');
    await receive(endpointId, 'old');
    await receive(endpointId, 'new');
    const { sql } = server.database;
    const kept = () => sql('select sender_id from latchkey.inbound_message where endpoint_id = $1', [endpointId]);
    const days = `select distinct extract(epoch from expire_time - receive_time) / 86400 as days from latchkey.inbound_message`;
    expect(await sql(days)).toEqual([{ days: '7.0000000000000000' }]);
    await sql(
      `insert into latchkey.inbound_message
       select tenant_id, 'imsg_' || n, endpoint_id, null, 'old', '', 0, content, 0, null, receive_time, receive_time - interval '1 s'
       from latchkey.inbound_message, generate_series(1, 1200) n where sender_id = 'old'`,
    );
    await sql(`update latchkey.inbound_message set expire_time = now() - interval '1 s' where sender_id = 'old'`);
    expect((await send(endpointId, 'old')).status).toBe(200);
    await new Housekeeper(server.replica.app).clean();
    expect(await kept()).toEqual([{ sender_id: 'new' }]);
    await receive(endpointId, 'old');
  });

  it('are sealed anew with the endpoint’s secrets when keys are rotated, and open as before', async () => {
    const endpointId = await newEndpoint('rotation');
    const messageId = await receive(endpointId, 'm', 'before');
    const sealed = () =>
      server.database.sql<{ content: Buffer; signing_secrets: Buffer }>(
        'select m.content, e.signing_secrets from latchkey.inbound_message m join latchkey.inbound_endpoint e on e.id = m.endpoint_id where m.id = $1',
        [messageId],
      );
    const [before] = await sealed();
    const { app } = server.replica;
    const masterKeys = new MasterKeys(Buffer.from(server.masterKey, 'base64'), null);
    const { id } = await openInstallation(app.pool, masterKeys);
    const keyring = new Keyring(masterKeys, dataKeyStore(app.pool), id, 1_000);
    const { broken } = await rotateKeys({
      ...{ orm: app.orm, pool: app.pool, masterKeys, keyring, auditKeys: app.auditKeys },
      progress: () => {},
      pause: async () => {},
    });
    expect(broken).toEqual([]);
    const [after] = await sealed();
    // The bytes after the format name the data key.
    const keyOf = (value: Buffer) => value.subarray(1, 17).toString('hex');
    expect(keyOf(after!.content)).not.toBe(keyOf(before!.content));
    expect(keyOf(after!.signing_secrets)).not.toBe(keyOf(before!.signing_secrets));
    app.caches.inboundEndpoints.clear();
    expect(Buffer.from((await server.operator().webhooks.getInboundMessage({ messageId })).body).toString()).toBe(
      'before',
    );
    await receive(endpointId, 'after');
  });

  it('do not open when they were altered or moved, nor do an endpoint’s secrets, and the audit log says so', async () => {
    const endpointId = await newEndpoint('integrity');
    const [a, b] = [await receive(endpointId, 'a'), await receive(endpointId, 'b')];
    const { webhooks } = server.operator();
    await server.database.sql(
      'update latchkey.inbound_message x set content = y.content from latchkey.inbound_message y where x.id = $1 and y.id = $2',
      [a, b],
    );
    expect(await failureOf(webhooks.getInboundMessage({ messageId: a }))).toMatchObject({ reason: 'INTERNAL' });
    await server.database.sql(
      `update latchkey.inbound_endpoint set signing_secrets = set_byte(signing_secrets, 40, get_byte(signing_secrets, 40) # 1) where id = $1`,
      [endpointId],
    );
    server.replica.app.caches.inboundEndpoints.clear();
    const answer = await send(endpointId, 'c');
    expect([answer.status, await answer.text()]).toEqual([500, '{"message":"internal error"}\n']);
    const entries = await server.database.sql<{ resource_id: string }>(
      `select resource_id from latchkey.audit_entry where action = 'integrity_failure' order by id`,
    );
    expect(entries.map(({ resource_id }) => resource_id)).toEqual([a, endpointId]);
  });

  it('are replayed a thousand at a time, and the rest by the same call', async () => {
    const endpointId = await newEndpoint('many');
    await receive(endpointId, 'first');
    await server.database.sql(
      `insert into latchkey.inbound_message
       select tenant_id, id || n, endpoint_id, null, '', '', 0, content, 0, null, receive_time, expire_time
       from latchkey.inbound_message, generate_series(1, 1004) n where endpoint_id = $1`,
      [endpointId],
    );
    const { webhooks } = server.operator();
    const replay = async () => {
      const { messages, more } = await webhooks.replayInboundMessage({ endpointId, replayed: false });
      return [messages.length, more];
    };
    expect([await replay(), await replay(), await replay()]).toEqual([
      [1000, true],
      [5, false],
      [0, false],
    ]);
    const [told] = await server.database.sql<{ n: string }>(
      `select count(*) as n from latchkey.outbox where payload ->> 'endpoint_id' = $1 and payload ->> 'replay' = '1'`,
      [endpointId],
    );
    expect(Number(told!.n)).toBe(1005);
  });
});
