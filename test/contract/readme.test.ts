import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { catalog } from '../../src/providers/catalog.ts';
import { isAtRisk, kindsOf, ONE_CRASH_BOUND_S } from '../../src/providers/provider.ts';

const PATH = join(import.meta.dirname, '../../README.md');
const BETWEEN = /(<!-- providers -->\n)[\s\S]*?(<!-- \/providers -->)/;

function table(): string {
  const rows = [...catalog.values()].map((definition) => {
    const rotation = definition.oauth ? (definition.oauth.rotation?.class ?? 'none') : '–';
    const risk = isAtRisk(definition, ONE_CRASH_BOUND_S) ? 'yes' : '';
    return `| \`${definition.name}\` | ${definition.displayName} | ${kindsOf(definition).join(', ')} | ${rotation} | ${risk} |`;
  });
  return ['| Name | Provider | Connections | Rotation | At risk |', '|---|---|---|---|---|', ...rows, ''].join('\n');
}

describe('README', () => {
  it('lists the providers as the catalog has them (UPDATE_README=1 writes it)', () => {
    const text = readFileSync(PATH, 'utf8');
    const wanted = text.replace(BETWEEN, (_, start: string, end: string) => `${start}${table()}${end}`);
    if (process.env.UPDATE_README) writeFileSync(PATH, wanted);
    else expect(text).toBe(wanted);
    expect(wanted).toContain('| `slack` | Slack | oauth2, bearer | strict | yes |');
  });
});
