import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LatchkeyError } from '../../src/base/error.ts';
import { checkConfig, checkedValues, checkValue, type GivenValues } from '../../src/domain/connectors/check-values.ts';
import type { ConnectorType, Input } from '../../src/domain/connectors/connector-type.ts';
import { connectorTypes } from '../../src/domain/connectors/connector-types.ts';
import { isUnder, parentKey, parseDn } from '../../src/domain/connectors/ldap-dn.ts';
import {
  escapeFilterValue,
  LdapFilterError,
  matchesLdapFilter,
  parseLdapFilter,
} from '../../src/domain/connectors/ldap-filter.ts';
import { hashPassword, isPassword } from '../../src/domain/connectors/password-hash.ts';
import type { JsonObject, JsonValue } from '../../src/model/json.ts';

/** The fields that a call says are wrong; empty: none. */
function faults(work: () => unknown): string[] {
  try {
    work();
    return [];
  } catch (error) {
    if (!(error instanceof LatchkeyError)) throw error;
    return error.fields.map(({ field }) => field);
  }
}

describe('A filter of LDAP', () => {
  const ENTRY: Record<string, string[]> = {
    uid: ['asmith'],
    cn: ['Alice Smith', 'Ali (admin) *'],
    employeeNumber: ['1001'],
    mail: ['alice@example.com'],
  };
  const valuesOf = (wanted: string) =>
    Object.entries(ENTRY).find(([name]) => name.toLowerCase() === wanted.toLowerCase())?.[1] ?? [];
  const matches = (text: string) => matchesLdapFilter(parseLdapFilter(text), valuesOf);

  it('finds what it says', () => {
    for (const text of [
      ...['(uid=asmith)', '(UID=ASmith)', '(mail=*)', '(cn=ali*)', '(cn=*smith)', '(cn=a*c*m*h)', '(cn=*li*)'],
      ...['(&(uid=asmith)(mail=*))', '(|(uid=x)(uid=asmith))', '(!(uid=x))', '(!(pager=*))', '(uid~=asmith)', '(&)'],
      ...['(employeeNumber>=1001)', '(employeeNumber<=1001)', '(employeeNumber>=999)', '(uid<=b)', ' (uid=asmith) '],
      ...['(cn=ali \\28admin\\29 \\2a)', '(&(|(uid=x)(cn=*))(!(&(uid=asmith)(pager=*))))', '(& (uid=asmith) (cn=*) )'],
    ])
      expect(matches(text), text).toBe(true);
    for (const text of [
      ...['(uid=smith)', '(pager=*)', '(cn=b*)', '(cn=*x*)', '(uid=asm*mith)', '(&(uid=asmith)(pager=*))', '(|)'],
      ...['(|(uid=x)(uid=y))', '(!(uid=asmith))', '(employeeNumber>=1002)', '(pager>=0)', '(uid=)', '(uid=\\2a)'],
    ])
      expect(matches(text), text).toBe(false);
  });

  it('is refused where it is none, or too much', () => {
    for (const text of [
      ...['', '()', '(', ')', 'uid=a', '(uid=a', '(uid=a))', '(uid=a)(uid=b)', '(=a)', '(uid)', '(&(uid=a)', '(!)'],
      ...['(uid=a(b)', '(uid=\\zz)', '(uid=\\2)', '(u id=a)', '(uid=a**b)', '(uid>=a*)', '(cn:caseExactMatch:=x)'],
      ...['(!(uid=a)(uid=b))', `${'(!'.repeat(25)}(a=b)${')'.repeat(25)}`, `(|${'(a=b)'.repeat(51)})`],
    ])
      expect(() => parseLdapFilter(text), text).toThrow(LdapFilterError);
  });

  it('reads anything in no time, and fails in its own words alone', () => {
    const text = fc.string({ unit: fc.constantFrom(...'()&|!=<>~*\\ab2 '), maxLength: 200 });
    fc.assert(
      fc.property(fc.oneof(text, fc.string()), (input) => {
        try {
          matches(input);
        } catch (error) {
          if (!(error instanceof LdapFilterError)) throw error;
        }
      }),
      { numRuns: 2_000 },
    );
    for (const hard of [
      '('.repeat(4_000),
      `(a=${'*a'.repeat(2_000)})`,
      `(a=${'\\41'.repeat(1_300)}\\)`,
      'a'.repeat(4_000),
    ]) {
      const startedAt = performance.now();
      expect(() => matches(hard) || undefined).not.toThrow(RangeError);
      expect(performance.now() - startedAt).toBeLessThan(200);
    }
  });

  it('takes an escaped text for what it is', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (value, other) => {
        fc.pre(value.trim() !== '' && value.toLowerCase().trim() !== other.toLowerCase().trim());
        const filter = parseLdapFilter(`(cn=${escapeFilterValue(value)})`);
        expect(filter).toEqual({ kind: 'equal', attribute: 'cn', value });
        expect(matchesLdapFilter(filter, () => [value])).toBe(true);
      }),
    );
  });
});

describe('A distinguished name', () => {
  it('is the same however it is written', () => {
    const { key } = parseDn('uid=a,ou=People,dc=example')!;
    for (const text of [
      'UID=A, OU=people, DC=Example',
      'uid = a ,ou=people,dc=example',
      'uid=\\61,ou=people,dc=example',
    ])
      expect(parseDn(text)?.key, text).toBe(key);
    expect(parseDn('cn=Smith\\, Jo,dc=x')?.parts).toEqual([
      ...[
        { attribute: 'cn', value: 'Smith, Jo' },
        { attribute: 'dc', value: 'x' },
      ],
    ]);
  });

  it('lies under those above it alone', () => {
    const dn = parseDn('uid=a,ou=people,dc=example')!;
    expect(parentKey(dn)).toBe(parseDn('ou=people,dc=example')!.key);
    expect(isUnder(dn.key, parseDn('dc=example')!.key)).toBe(true);
    expect(isUnder(dn.key, '')).toBe(true);
    expect(isUnder(parseDn('xdc=example')!.key, parseDn('dc=example')!.key)).toBe(false);
    expect(isUnder(parseDn('cn=x\\0adc=example')!.key, parseDn('dc=example')!.key)).toBe(false);
    expect(parentKey(parseDn('')!)).toBeNull();
  });

  it('is refused where it is none, in no time', () => {
    for (const text of ['a', 'a=', '=b', 'a=b,', 'a=b,,c=d', 'a=\\', 'a=\\g', 'a=\\00', 'a b=c'])
      expect(parseDn(text), text).toBeNull();
    const startedAt = performance.now();
    expect(parseDn(`a=${'\\41'.repeat(300)}\\`)).toBeNull();
    expect(performance.now() - startedAt).toBeLessThan(100);
  });
});

describe('What a connector takes', () => {
  const check = (input: Partial<Input>, value: JsonValue) =>
    faults(() => checkValue({ name: 'x', description: '', types: ['string'], ...input }, value, 'x'));

  it('is of the types that its description has', () => {
    const values: Record<string, JsonValue> = {
      string: 'a',
      number: 1.5,
      integer: 2,
      boolean: true,
      object: {},
      list: [],
    };
    for (const type of ['string', 'number', 'integer', 'boolean', 'object', 'list'] as const)
      for (const [of, value] of Object.entries(values)) {
        const fits = of === type || (type === 'number' && of === 'integer');
        expect(check({ types: [type] }, value), `${of} as ${type}`).toEqual(fits ? [] : ['x']);
      }
    expect(check({ types: ['boolean', 'string'] }, 'a')).toEqual([]);
    for (const odd of [Number.NaN, Number.POSITIVE_INFINITY]) expect(check({ types: ['number'] }, odd)).toEqual(['x']);
    expect(check({ types: ['integer'] }, 2 ** 60)).toEqual(['x']);
  });

  it('keeps within bounds', () => {
    expect(check({ choices: ['a', 'b'] }, 'c')).toEqual(['x']);
    expect(check({ maxLength: 2 }, 'abc')).toEqual(['x']);
    expect(check({}, 'a'.repeat(4_097))).toEqual(['x']);
    expect(check({ required: true }, '')).toEqual(['x']);
    expect(check({ types: ['integer'], minimum: 1, maximum: 3 }, 0)).toEqual(['x']);
    expect(check({ types: ['integer'], minimum: 1, maximum: 3 }, 4)).toEqual(['x']);
    expect(check({ types: ['list'], maxItems: 1 }, [1, 2])).toEqual(['x']);
    expect(check({ types: ['list'], items: ['string'] }, ['a', 1])).toEqual(['x["1"]']);
    expect(check({ types: ['object'], items: ['string'] }, { a: 1 })).toEqual(['x["a"]']);
  });

  const type: ConnectorType = {
    ...{
      name: 'type',
      version: '1.0.0',
      executionModel: 'built_in',
      displayName: '',
      description: '',
      defaultCommand: 'go',
    },
    settings: [{ name: 'setting', types: ['string'], description: '', default: 'fallback' }],
    commands: [
      {
        ...{ name: 'go', description: '' },
        inputs: [
          { name: 'path', types: ['string'], description: '', required: true, escape: encodeURIComponent },
          { name: 'count', types: ['integer'], description: '' },
          { name: 'secret', types: ['string'], description: '', sensitive: true },
        ],
      },
    ],
    instead: ({ setting }) => (setting === 'stop' ? { success: false, error: 'stopped' } : null),
    execute: async () => ({ success: true }),
  };
  const values = (given: Partial<GivenValues>) =>
    checkedValues(type, type.commands[0]!, { inputs: {}, config: {}, stored: {}, variables: {}, ...given });

  it('comes from inputs, config and the connector, in this order, with variables filled in', () => {
    const stored: JsonObject = { path: '/stored', count: 1, setting: 'own' };
    expect(values({ stored })).toEqual({
      config: { setting: 'own' },
      inputs: { path: '/stored', count: 1 },
      instead: null,
    });
    const config = { path: '/config', setting: null };
    const given = { stored, config, inputs: { path: '/{{a}}/{{b.c}}', count: '{{n}}' } };
    expect(values({ ...given, variables: { a: '../x', b: { c: 1 }, n: 7 } })).toEqual({
      ...{ config: { setting: 'fallback' }, inputs: { path: '/..%2Fx/1', count: 7 }, instead: null },
    });
    expect(values({ stored: { setting: '{{s}}' }, variables: { s: 'stop' } })).toMatchObject({
      instead: { success: false, error: 'stopped' },
    });
  });

  it('is refused with its name', () => {
    expect(faults(() => values({}))).toEqual(['inputs["path"]']);
    expect(faults(() => values({ config: { path: 1 } }))).toEqual(['config["path"]']);
    expect(faults(() => values({ inputs: { setting: 'x' } }))).toEqual(['inputs["setting"]']);
    expect(faults(() => values({ config: { constructor: 'x' } }))).toEqual(['config["constructor"]']);
    expect(faults(() => values({ inputs: { path: '{{gone}}' } }))).toEqual(['variables["gone"]']);
    expect(faults(() => values({ inputs: { path: 'x', count: '{{n}}' }, variables: { n: 'many' } }))).toEqual([
      'inputs["count"]',
    ]);
    expect(faults(() => checkConfig(type, JSON.parse('{"__proto__": 1}')))).toEqual(['config["__proto__"]']);
    expect(faults(() => checkConfig(type, { secret: 'x' }))).toEqual(['config["secret"]']);
    expect(faults(() => checkConfig(type, { count: '{{n}}', path: '' }))).toEqual(['config["path"]']);
    const deep = Array.from({ length: 40 }).reduce<JsonValue>((inner) => [inner], 'x');
    expect(faults(() => checkConfig(type, { path: deep }))).toEqual(['config']);
    expect(faults(() => values({ variables: { deep } }))).toEqual(['variables']);
  });
});

describe('The types of connectors', () => {
  it('have names that mean one thing each, defaults that fit, and the commands that they must', () => {
    const names = connectorTypes.map(({ name }) => name);
    expect(names).toEqual([...new Set(names)].sort());
    for (const { name, settings, commands, defaultCommand, initialState } of connectorTypes) {
      const known = commands.map((command) => command.name);
      expect(new Set(known).size, name).toBe(known.length);
      expect(known, name).toEqual(expect.arrayContaining(['test', defaultCommand]));
      if (initialState) expect(known, name).toContain('reset');
      const inputs = Map.groupBy(
        commands.flatMap((command) => command.inputs),
        (input) => input.name,
      );
      for (const [input, descriptions] of inputs) {
        expect(
          settings.map((setting) => setting.name),
          name,
        ).not.toContain(input);
        // A connector's config has one value for all of them.
        expect(new Set(descriptions.map(({ types }) => types.join())).size, `${name} ${input}`).toBe(1);
      }
      for (const input of [...settings, ...commands.flatMap((command) => command.inputs)]) {
        expect(['connectorName', 'command'], name).not.toContain(input.name);
        if (input.default !== undefined)
          expect(faults(() => checkValue(input, input.default!, input.name))).toEqual([]);
      }
    }
  });
});

describe('A simulated password', () => {
  it('is kept as a hash of its own', async () => {
    const [one, two] = await Promise.all([hashPassword('Passw0rd!'), hashPassword('Passw0rd!')]);
    expect(one).not.toBe(two);
    expect(one).not.toContain('Passw0rd');
    expect(await isPassword('Passw0rd!', one)).toBe(true);
    expect(await isPassword('passw0rd!', one)).toBe(false);
  });
});
