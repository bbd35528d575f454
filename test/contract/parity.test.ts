import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const TESTS = join(import.meta.dirname, '..');
const table = readFileSync(join(TESTS, 'parity.md'), 'utf8');

const rows = table
  .split('\n')
  .filter((line) => line.startsWith('| ') && !/^\| What /.test(line))
  .map((line) => line.slice(2, -2).split(' | '));
const references = rows.flatMap(([what = '', proofs = '']) =>
  proofs.split(' · ').map((proof) => {
    const { file = '', title = '' } = /^`(?<file>[^`]+)`: (?<title>.+)$/.exec(proof)?.groups ?? {};
    return { what, file, title };
  }),
);

/** The titles of the tests of a file, as they stand in it. */
function titlesOf(file: string): string[] {
  const text = readFileSync(join(TESTS, file), 'utf8');
  const calls = text.matchAll(/\b(?:it|test)(?:\.\w+(?:\([^)]*\))?)?\(\s*(['"`])(?<title>(?:(?!\1).)+)\1/g);
  return [...calls].map(({ groups }) => groups!.title!);
}

describe('The table of what the source systems do', () => {
  it('has a proof in every row', () => {
    expect(rows.length).toBeGreaterThan(65);
    expect(references.filter(({ title }) => title === '')).toEqual([]);
  });

  it('names tests that exist', () => {
    const missing = references.filter(
      ({ file, title }) => !existsSync(join(TESTS, file)) || !titlesOf(file).some((found) => found.includes(title)),
    );
    expect(missing).toEqual([]);
  });
});
