import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = resolve(import.meta.dirname, '../../src');

/** Rooms from the lowest to the highest; those in one list stand beside each other and do not know one another. */
const ROOMS: readonly (readonly string[])[] = [
  ['base'],
  ['crypto', 'egress'],
  ['config.ts', 'master-key-file.ts'],
  ['oauth'],
  ['clients'],
  ['providers'],
  ['model'],
  ['db'],
  ['domain'],
  ['jobs', 'handlers'],
  ['server', 'sandbox'],
  ['app.ts', 'memory.ts', 'prepare.ts', 'workers.ts', 'banner.ts'],
  ['demo'],
  ['commands'],
  ['cli.ts', 'openapi'],
];
/** Inside `domain`: its context first, and what that speaks of, then the nouns. */
const DOMAIN: readonly (readonly string[])[] = [
  ['deliveries.ts'],
  ['call.ts'],
  ['change.ts', 'once.ts'],
  ['audit', 'events'],
  ['access'],
  ['secrets'],
  ['integrations'],
  ['connections'],
  ['tokens'],
  ['usage', 'feeds'],
  ['authorizations'],
  ['accounts'],
  ['requests'],
  ['checks'],
  ['webhooks', 'inbound'],
  ['endpoints'],
  ['connectors'],
  ['langflow'],
  ['status'],
  ['removal', 'keys'],
];
const MAY_IMPORT_GEN = ['handlers', 'server'];

type Import = { from: string; to: string; typeOnly: boolean };

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(SRC, join(entry.parentPath, entry.name)));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  const matches = text.matchAll(/^(?:import|export)\s+(type\s+)?[^;]*?from\s+'(\.[^']+)';/gms);
  return [...matches].map((match) => ({
    from: file,
    to: relative(SRC, resolve(SRC, dirname(file), match[2]!)),
    typeOnly: match[1] !== undefined,
  }));
}

function rank(levels: readonly (readonly string[])[], path: string): number {
  const room = path.split('/')[0]!;
  return levels.findIndex((level) => level.includes(room));
}

const files = sourceFiles(SRC);
const imports = files.flatMap(importsOf);
const inside = imports.filter(({ to }) => !to.startsWith('..'));

describe('The architecture', () => {
  it('knows a room for every file', () => {
    expect(files.filter((file) => rank(ROOMS, file) < 0)).toEqual([]);
    const domain = files.filter((file) => file.startsWith('domain/')).map((file) => file.slice('domain/'.length));
    expect(domain.filter((file) => rank(DOMAIN, file) < 0)).toEqual([]);
    expect(imports.length).toBeGreaterThan(200);
  });

  it('imports only from lower rooms', () => {
    const wrong = inside.filter(({ from, to }) => {
      const sameRoom = from.split('/')[0] === to.split('/')[0];
      return !sameRoom && rank(ROOMS, to) >= rank(ROOMS, from);
    });
    // The process is put together in `app` and its neighbours, which know one another.
    const composition = ROOMS.find((room) => room.includes('app.ts'))!;
    expect(wrong.filter(({ from, to }) => !(composition.includes(from) && composition.includes(to)))).toEqual([]);
  });

  it('keeps the nouns of the domain in order', () => {
    const domain = inside.filter(({ from, to }) => from.startsWith('domain/') && to.startsWith('domain/'));
    const wrong = domain.filter(({ from, to }) => {
      const [a, b] = [from.slice('domain/'.length), to.slice('domain/'.length)];
      return a.split('/')[0] !== b.split('/')[0] && rank(DOMAIN, b) >= rank(DOMAIN, a);
    });
    expect(wrong).toEqual([]);
  });

  it('has no cycle', () => {
    const graph = Map.groupBy(
      inside.filter(({ typeOnly }) => !typeOnly),
      ({ from }) => from,
    );
    const state = new Map<string, 'open' | 'done'>();
    const cycles: string[] = [];
    const visit = (file: string, path: string[]): void => {
      if (state.get(file) === 'done') return;
      if (state.get(file) === 'open') {
        cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
        return;
      }
      state.set(file, 'open');
      for (const { to } of graph.get(file) ?? []) visit(to, [...path, file]);
      state.set(file, 'done');
    };
    for (const file of files) visit(file, []);
    expect(cycles).toEqual([]);
  });

  it('lets handlers and server alone see the generated contract', () => {
    const outside = imports.filter(({ to }) => to.startsWith('../gen/'));
    expect(outside.length).toBeGreaterThan(5);
    expect(outside.filter(({ from }) => !MAY_IMPORT_GEN.includes(from.split('/')[0]!))).toEqual([]);
  });

  it('reads the environment in config.ts alone', () => {
    const readers = files.filter((file) => readFileSync(join(SRC, file), 'utf8').includes('process.env'));
    expect(readers).toEqual(['config.ts']);
  });

  it('keeps the sandbox apart from what runs in production', () => {
    const known = inside.filter(({ from, to }) => from.startsWith('sandbox/') && !to.startsWith('sandbox/'));
    expect(known.filter(({ to }) => !/^(base|config\.ts|providers)(\/|$)/.test(to))).toEqual([]);
    const knowing = inside.filter(({ from, to }) => to.startsWith('sandbox/') && !from.startsWith('sandbox/'));
    expect(knowing.filter(({ from }) => !/^(app|prepare|commands\/demo)\.ts$/.test(from))).toEqual([]);
  });

  it('makes the ids of audit entries in one place, for they prove where an entry is from', () => {
    const makers = files.filter((file) => readFileSync(join(SRC, file), 'utf8').includes("newId('aud'"));
    expect(makers).toEqual(['domain/audit/audit-id.ts']);
  });

  it('has nothing that imports cli, or the generator of the document', () => {
    const known = inside.filter(
      ({ from, to }) => to === 'cli.ts' || (rank([['openapi']], to) === 0 && !from.startsWith('openapi/')),
    );
    expect(known).toEqual([]);
  });
});
