import { fieldInvalid } from '../../../base/error.ts';
import type { JsonObject, JsonValue } from '../../../model/json.ts';
import { at } from '../check-values.ts';
import type { Input } from '../connector-type.ts';
import { type Dn, isUnder, parentKey, parseDn } from '../ldap-dn.ts';
import {
  escapeFilterValue,
  type LdapFilter,
  LdapFilterError,
  matchesLdapFilter,
  parseLdapFilter,
} from '../ldap-filter.ts';
import { hashPassword, isPassword } from '../password-hash.ts';
import { GROUPS, PASSWORD, PEOPLE } from '../people.ts';
import { type SimulatedResult, simulatedType } from '../simulated-type.ts';

type Attribute = { name: string; values: string[] };
/** `key`: of its name. `password`: its hash, which is no attribute, so that no search finds it. */
type Entry = { dn: string; key: string; attributes: Attribute[]; password: string | null };
type State = { entries: Entry[] };
type Result = SimulatedResult<State>;

const BASE = 'dc=example,dc=com';
const MOST_ENTRIES = 1_000;
const MOST_VALUES = 1_000;
const ATTRIBUTE_NAME = /^[A-Za-z][A-Za-z0-9-]{0,99}$/;

/** Result codes (RFC 4511, section 4.1.9). */
const CODES = {
  noSuchAttribute: 16,
  attributeOrValueExists: 20,
  noSuchObject: 32,
  invalidCredentials: 49,
  unwillingToPerform: 53,
  notAllowedOnNonLeaf: 66,
  notAllowedOnRDN: 67,
  entryAlreadyExists: 68,
  adminLimitExceeded: 11,
};

function failed(code: keyof typeof CODES, error: string): Result {
  return { success: false, error, data: { resultCode: CODES[code], resultName: code } };
}

const DN: Input = {
  name: 'dn',
  types: ['string'],
  required: true,
  maxLength: 1_000,
  description: 'Distinguished name of the entry (RFC 4514).',
};

export const testLdap = simulatedType<State>({
  name: 'test-ldap',
  displayName: 'Simulated LDAP directory',
  description: `A directory of people and groups under ${BASE}, to develop against. The password of everyone in it is ${PASSWORD}`,
  defaultCommand: 'search',
  seed,
  commands: [
    {
      ...{ name: 'test', description: 'Says that the directory answers.', inputs: [] },
      run: ({ entries }) => ({ success: true, data: { baseDn: BASE, entryCount: entries.length } }),
    },
    {
      name: 'search',
      description: 'Finds entries.',
      inputs: [
        { name: 'baseDn', types: ['string'], default: BASE, maxLength: 1_000, description: 'Where to search.' },
        {
          name: 'scope',
          types: ['string'],
          default: 'sub',
          choices: ['base', 'one', 'sub'],
          description: 'The base alone, what is directly under it, or both and all below.',
        },
        {
          name: 'filter',
          types: ['string'],
          default: '(objectClass=*)',
          escape: escapeFilterValue,
          description: 'What to find (RFC 4515). Variables in it are escaped.',
        },
        {
          name: 'attributes',
          types: ['list'],
          items: ['string'],
          maxItems: 100,
          default: [],
          description: 'The attributes to answer; none: all.',
        },
        {
          name: 'sizeLimit',
          types: ['integer'],
          minimum: 1,
          maximum: 1_000,
          default: 100,
          description: 'How many entries to answer at most.',
        },
      ],
      run: search,
    },
    {
      name: 'bind',
      description: 'Signs in.',
      inputs: [
        DN,
        {
          name: 'password',
          types: ['string'],
          required: true,
          sensitive: true,
          maxLength: 200,
          description: 'The password.',
        },
      ],
      run: bind,
    },
    {
      name: 'add',
      description: 'Adds an entry.',
      inputs: [
        DN,
        {
          name: 'entry',
          types: ['object'],
          required: true,
          maxItems: 100,
          items: ['string', 'list'],
          sensitive: true,
          description: 'Its attributes, each a text or a list of texts. `userPassword` is never answered.',
        },
      ],
      changes: true,
      run: add,
    },
    {
      name: 'modify',
      description: 'Changes attributes of an entry: all the changes, or none.',
      inputs: [
        DN,
        {
          name: 'changes',
          types: ['list'],
          required: true,
          maxItems: 100,
          items: ['object'],
          sensitive: true,
          description:
            'The changes, in order: `{"operation": "add", "delete" or "replace", "attribute": "mail", "values": ["a@example.com"]}`.',
        },
      ],
      changes: true,
      run: modify,
    },
    {
      name: 'delete',
      description: 'Deletes an entry that has none under it.',
      inputs: [DN],
      changes: true,
      run: remove,
    },
  ],
});

function search({ entries }: State, inputs: JsonObject): Result {
  const { scope, attributes, sizeLimit } = inputs as { scope: string; attributes: string[]; sizeLimit: number };
  const base = dnOf(inputs, 'baseDn');
  const filter = filterOf(inputs.filter as string);
  if (base.key !== '' && !entries.some(({ key }) => key === base.key))
    return failed('noSuchObject', 'there is no such base');
  const inScope = (entry: Entry) => {
    if (scope === 'base') return entry.key === base.key;
    return scope === 'one' ? parentKey(parseDn(entry.dn)!) === base.key : isUnder(entry.key, base.key);
  };
  const found = entries.filter((entry) => inScope(entry) && matchesLdapFilter(filter, (name) => valuesOf(entry, name)));
  const shown = found.slice(0, sizeLimit).map((entry) => shownEntry(entry, attributes));
  return { success: true, data: { entries: shown, count: shown.length, truncated: found.length > shown.length } };
}

async function bind({ entries }: State, inputs: JsonObject): Promise<Result> {
  const { key } = dnOf(inputs, 'dn');
  const entry = entries.find((candidate) => candidate.key === key);
  const { password } = inputs as { password: string };
  if (!entry?.password || !(await isPassword(password, entry.password)))
    return failed('invalidCredentials', 'invalid credentials');
  return { success: true, data: { authenticated: true, dn: entry.dn } };
}

async function add({ entries }: State, inputs: JsonObject): Promise<Result> {
  const dn = dnOf(inputs, 'dn');
  const [own] = dn.parts;
  if (!own || isPasswordName(own.attribute)) throw fieldInvalid(at('inputs', 'dn'), 'is the name of no entry');
  const given = Object.entries(inputs.entry as JsonObject).map(([name, values]) => ({
    name: attributeName(name, at('inputs', 'entry')),
    values: textsOf(values, `${at('inputs', 'entry')}[${JSON.stringify(name)}]`),
  }));
  if (new Set(given.map(({ name }) => name.toLowerCase())).size < given.length)
    throw fieldInvalid(at('inputs', 'entry'), 'names an attribute twice');
  if (entries.some(({ key }) => key === dn.key)) return failed('entryAlreadyExists', 'there is such an entry');
  if (!entries.some(({ key }) => key === parentKey(dn))) return failed('noSuchObject', 'there is no entry above it');
  if (entries.length >= MOST_ENTRIES)
    return failed('adminLimitExceeded', `the directory holds at most ${MOST_ENTRIES} entries`);
  const attributes = given.filter(({ name }) => !isPasswordName(name));
  const secret = given.find(({ name }) => isPasswordName(name))?.values[0];
  const named = attributes.find(({ name }) => sameName(name, own.attribute));
  if (!named) attributes.push({ name: own.attribute, values: [own.value] });
  else if (!named.values.some((value) => sameName(value, own.value))) named.values.push(own.value);
  const password = secret === undefined ? null : await hashPassword(secret);
  const entry: Entry = { dn: inputs.dn as string, key: dn.key, attributes, password };
  return { success: true, data: { dn: entry.dn }, state: { entries: [...entries, entry] } };
}

async function modify({ entries }: State, inputs: JsonObject): Promise<Result> {
  const dn = dnOf(inputs, 'dn');
  const changes = (inputs.changes as JsonObject[]).map(changeOf);
  // Each takes a while to hash, and others wait for the entry.
  if (changes.filter(({ attribute }) => isPasswordName(attribute)).length > 1)
    throw fieldInvalid(at('inputs', 'changes'), 'change the password more than once');
  const found = entries.find(({ key }) => key === dn.key);
  if (!found) return failed('noSuchObject', 'there is no such entry');
  const entry = structuredClone(found);
  for (const change of changes) {
    const failure = isPasswordName(change.attribute) ? await setPassword(entry, change) : applied(entry, change);
    if (failure) return failure;
  }
  const [own] = dn.parts;
  if (own && !valuesOf(entry, own.attribute).some((value) => sameName(value, own.value)))
    return failed('notAllowedOnRDN', `${own.attribute} is part of the name of the entry`);
  const changed = entries.map((candidate) => (candidate === found ? entry : candidate));
  return { success: true, data: { dn: entry.dn, changes: changes.length }, state: { entries: changed } };
}

function remove({ entries }: State, inputs: JsonObject): Result {
  const dn = dnOf(inputs, 'dn');
  const entry = entries.find(({ key }) => key === dn.key);
  if (!entry) return failed('noSuchObject', 'there is no such entry');
  const isLeaf = entries.every((other) => other === entry || !isUnder(other.key, dn.key));
  if (!isLeaf) return failed('notAllowedOnNonLeaf', 'there are entries under it');
  return { success: true, data: { dn: entry.dn }, state: { entries: entries.filter((other) => other !== entry) } };
}

type Change = { operation: 'add' | 'delete' | 'replace'; attribute: string; values: string[] };

function changeOf({ operation, attribute, values = [], ...rest }: JsonObject, index: number): Change {
  const field = `${at('inputs', 'changes')}[${index}]`;
  if (operation !== 'add' && operation !== 'delete' && operation !== 'replace')
    throw fieldInvalid(`${field}.operation`, 'must be one of add, delete, replace');
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw fieldInvalid(`${field}.${unknown}`, 'is not known');
  const texts = textsOf(values, `${field}.values`);
  if (operation === 'add' && texts.length === 0) throw fieldInvalid(`${field}.values`, 'is required');
  return { operation, attribute: attributeName(attribute, `${field}.attribute`), values: texts };
}

async function setPassword(entry: Entry, { operation, values }: Change): Promise<Result | null> {
  if (operation === 'delete') entry.password = null;
  else if (values.length !== 1) return failed('unwillingToPerform', 'an entry has one password');
  else entry.password = await hashPassword(values[0]!);
  return null;
}

/** Changes an entry; answers why it cannot be. */
function applied(entry: Entry, { operation, attribute, values }: Change): Result | null {
  const present = valuesOf(entry, attribute);
  const known = new Set(present.map((value) => value.toLowerCase()));
  const has = (value: string) => known.has(value.toLowerCase());
  if (operation === 'add' && values.some(has)) return failed('attributeOrValueExists', `${attribute} has such a value`);
  if (operation === 'delete' && (present.length === 0 || !values.every(has)))
    return failed('noSuchAttribute', `${attribute} has no such value`);
  const gone = new Set(values.map((value) => value.toLowerCase()));
  const left = present.filter((value) => !gone.has(value.toLowerCase()));
  const next = { add: [...present, ...values], replace: values, delete: values.length === 0 ? [] : left }[operation];
  const name = entry.attributes.find((other) => sameName(other.name, attribute))?.name ?? attribute;
  const others = entry.attributes.filter((other) => !sameName(other.name, attribute));
  entry.attributes = next.length === 0 ? others : [...others, { name, values: next }];
  return null;
}

function shownEntry({ dn, attributes }: Entry, names: readonly string[]): JsonObject {
  const shown = attributes.filter(
    ({ name }) => names.length === 0 || names.some((wanted) => wanted === '*' || sameName(wanted, name)),
  );
  return { dn, attributes: Object.fromEntries(shown.map(({ name, values }) => [name, values])) };
}

function valuesOf({ attributes }: Entry, wanted: string): readonly string[] {
  return attributes.find(({ name }) => sameName(name, wanted))?.values ?? [];
}

function sameName(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function isPasswordName(name: string): boolean {
  return sameName(name, 'userPassword');
}

/** Fails with FIELD_INVALID. */
function dnOf(inputs: JsonObject, name: string): Dn {
  const dn = parseDn(inputs[name] as string);
  if (!dn) throw fieldInvalid(at('inputs', name), 'is no distinguished name');
  return dn;
}

/** Fails with FIELD_INVALID. */
function filterOf(text: string): LdapFilter {
  try {
    return parseLdapFilter(text);
  } catch (error) {
    if (error instanceof LdapFilterError) throw fieldInvalid(at('inputs', 'filter'), error.message);
    throw error;
  }
}

function attributeName(name: JsonValue | undefined, field: string): string {
  if (typeof name === 'string' && ATTRIBUTE_NAME.test(name)) return name;
  throw fieldInvalid(field, 'holds what is no name of an attribute');
}

function textsOf(values: JsonValue, field: string): string[] {
  const list = Array.isArray(values) ? values : [values];
  if (list.length > MOST_VALUES) throw fieldInvalid(field, `must be at most ${MOST_VALUES} texts`);
  if (list.every((value) => typeof value === 'string' && value !== '')) return list as string[];
  throw fieldInvalid(field, 'must be a text or a list of texts, none of them empty');
}

async function seed(): Promise<State> {
  const password = await hashPassword(PASSWORD);
  const entry = (dn: string, attributes: Record<string, string | string[]>, secret: string | null = null): Entry => ({
    ...{ dn, key: parseDn(dn)!.key, password: secret },
    attributes: Object.entries(attributes).map(([name, values]) => ({ name, values: [values].flat() })),
  });
  const unit = (name: string) => entry(`ou=${name},${BASE}`, { objectClass: ['top', 'organizationalUnit'], ou: name });
  const personDn = (username: string) => `uid=${username},ou=people,${BASE}`;
  return {
    entries: [
      entry(BASE, { objectClass: ['top', 'dcObject', 'organization'], dc: 'example', o: 'Example Inc.' }),
      entry(`cn=admin,${BASE}`, { objectClass: ['top', 'organizationalRole'], cn: 'admin' }, password),
      ...['people', 'groups'].map(unit),
      ...PEOPLE.map(({ username, givenName, surname, title, department }, index) => {
        const name = { uid: username, cn: `${givenName} ${surname}`, givenName, sn: surname };
        const work = { mail: `${username}@example.com`, title, departmentNumber: department };
        const account = { employeeNumber: String(1001 + index), uidNumber: String(10_001 + index) };
        const objectClass = ['top', 'person', 'organizationalPerson', 'inetOrgPerson'];
        return entry(personDn(username), { objectClass, ...name, ...work, ...account }, password);
      }),
      ...GROUPS.map(({ name, description, members }) =>
        entry(`cn=${name},ou=groups,${BASE}`, {
          ...{ objectClass: ['top', 'groupOfNames'], cn: name, description, member: members.map(personDn) },
        }),
      ),
    ],
  };
}
