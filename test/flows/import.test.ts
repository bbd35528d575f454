import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServerProcess, temporaryFolder } from '../harness/process.ts';
import { ADMIN_KEY, TestServer } from '../harness/server.ts';

const folder = temporaryFolder();
const path = join(folder.path, 'connections.json');
let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(async () => {
  await server.stop();
  folder.remove();
});

describe('npm run import', () => {
  const run = (...args: string[]) => {
    const env = { LATCHKEY_URL: server.httpUrl, LATCHKEY_KEY: ADMIN_KEY };
    return ServerProcess.command(env, 'import', path, ...args).exited;
  };

  it('imports both lists of a file, and can be repeated', async () => {
    const document = { name: 'new', type: 'bearer', authConfig: { tokenRef: 't' }, secrets: { t: 'hush' } };
    writeFileSync(
      path,
      JSON.stringify({ externalConnections: [{ ...document, name: 'old' }], connections: [document] }),
    );
    expect(await run('--dry-run')).toMatchObject({ code: 0, output: expect.stringContaining('2 of 2 are good') });
    const made = await run('--project', 'p1');
    expect(made).toMatchObject({ code: 0, output: expect.stringContaining('2 of 2 were made') });
    expect(made.output).toMatch(/^\+ 1 {2}old {2}CREATED conn_\w{26}\n\+ 2 {2}new {2}CREATED conn_/);
    expect(await run('--project', 'p1')).toMatchObject({
      ...{ code: 1, output: expect.stringContaining('Nothing was written: 2 of 2 are wrong') },
    });
    const { code, output } = await run('--project', 'p1', '--skip-taken', '--json');
    const actions = JSON.parse(output).rows.map(({ action }: { action: string }) => action);
    expect([code, actions]).toEqual([0, ['IMPORT_ACTION_SKIPPED', 'IMPORT_ACTION_SKIPPED']]);
    const { connections } = await server.operator().connections.listConnections({ projectId: 'p1' });
    expect(connections.map(({ name }) => name).sort()).toEqual(['new', 'old']);
  });

  it('names every wrong row', async () => {
    writeFileSync(
      path,
      JSON.stringify([
        { name: 'a', type: 'ldap' },
        { type: 'bearer', authConfig: { tokenRef: 'gone' } },
      ]),
    );
    const { code, output } = await run();
    expect(code).toBe(1);
    expect(output).toContain('! 1  a  FAILED\n       type: is none of the types');
    expect(output).toContain('! 2  (no name)  FAILED\n       name: is missing');
    expect(output).toContain('there is no secret gone');
  });

  it('says what is wrong with the call, and shows nothing of the file', async () => {
    writeFileSync(path, '{"secrets": "hush", broken');
    const broken = await run();
    expect(broken).toMatchObject({ code: 1, output: expect.stringContaining('is not JSON') });
    expect(broken.output).not.toContain('hush');
    writeFileSync(path, '{}');
    expect(await run()).toMatchObject({ code: 1, output: expect.stringContaining('holds no list of connections') });
    expect(await run('--nonsense')).toMatchObject({
      code: 2,
      output: expect.stringContaining("unknown option '--nonsense'"),
    });
    rmSync(path);
    expect(await run()).toMatchObject({ code: 1, output: expect.stringContaining('cannot be read') });
  });
});
