import { fieldInvalid } from '../../../base/error.ts';
import type { JsonObject } from '../../../model/json.ts';
import { at } from '../check-values.ts';
import type { Input } from '../connector-type.ts';
import { hashPassword, isPassword } from '../password-hash.ts';
import { GROUPS, PASSWORD, PEOPLE } from '../people.ts';
import { type SimulatedResult, simulatedType } from '../simulated-type.ts';

/** `password`: its hash. Times as RFC 3339. */
type User = {
  sAMAccountName: string;
  displayName: string;
  givenName: string;
  surname: string;
  mail: string;
  title: string;
  department: string;
  enabled: boolean;
  password: string;
  pwdLastSet: string;
  whenCreated: string;
};
/** Members by account name. */
type Group = { name: string; description: string; members: string[] };
type State = { users: User[]; groups: Group[] };
type Result = SimulatedResult<State>;

const DOMAIN = 'example.com';
const MOST_USERS = 500;

const text = (name: string, description: string): Input => ({ name, types: ['string'], maxLength: 256, description });
const IDENTITY: Input = {
  ...text('identity', 'The account: its sAMAccountName, userPrincipalName, mail or distinguishedName.'),
  required: true,
};
const GROUP: Input = { ...text('group', 'Name or distinguishedName of the group.'), required: true };
const PASSWORD_INPUT: Input = { ...text('password', 'The password.'), required: true, sensitive: true };
const PAGE: readonly Input[] = [
  {
    name: 'limit',
    types: ['integer'],
    minimum: 1,
    maximum: 500,
    default: 100,
    description: 'How many to answer at most.',
  },
  { name: 'offset', types: ['integer'], minimum: 0, maximum: 1_000, default: 0, description: 'How many to pass over.' },
];

export const testActiveDirectory = simulatedType<State>({
  name: 'test-activedirectory',
  displayName: 'Simulated Active Directory',
  description: `Users and groups of the domain ${DOMAIN}, to develop against. The password of everyone in it is ${PASSWORD}`,
  defaultCommand: 'findUser',
  seed,
  commands: [
    {
      ...{ name: 'test', description: 'Says that the domain answers.', inputs: [] },
      run: ({ users, groups }) => ({
        success: true,
        data: { domain: DOMAIN, userCount: users.length, groupCount: groups.length },
      }),
    },
    {
      ...{ name: 'findUser', description: 'Answers a user.', inputs: [IDENTITY] },
      run: (state, inputs) =>
        withUser(state, inputs, (user) => ({ success: true, data: { user: shownUser(state, user) } })),
    },
    {
      ...{ name: 'findGroup', description: 'Answers a group.', inputs: [GROUP] },
      run: (state, inputs) =>
        withGroup(state, inputs, (group) => ({ success: true, data: { group: shownGroup(group) } })),
    },
    {
      ...{ name: 'authenticate', description: 'Tries a password.', inputs: [IDENTITY, PASSWORD_INPUT] },
      run: authenticate,
    },
    {
      ...{ name: 'getGroupMembers', description: 'Answers the users of a group.', inputs: [GROUP, ...PAGE] },
      run: (state, inputs) =>
        withGroup(state, inputs, ({ members }) => {
          const users = state.users.filter(({ sAMAccountName }) => members.includes(sAMAccountName));
          return page(
            'members',
            users.map((user) => shownUser(state, user)),
            inputs,
          );
        }),
    },
    {
      ...{ name: 'enableAccount', description: 'Lets a user sign in.', inputs: [IDENTITY], changes: true },
      run: (state, inputs) => setEnabled(state, inputs, true),
    },
    {
      ...{ name: 'disableAccount', description: 'Keeps a user from signing in.', inputs: [IDENTITY], changes: true },
      run: (state, inputs) => setEnabled(state, inputs, false),
    },
    {
      ...{ name: 'addToGroup', description: 'Makes a user a member of a group.', changes: true },
      inputs: [IDENTITY, GROUP],
      run: (state, inputs) => setMember(state, inputs, true),
    },
    {
      ...{ name: 'removeFromGroup', description: 'Takes a user out of a group.', changes: true },
      inputs: [IDENTITY, GROUP],
      run: (state, inputs) => setMember(state, inputs, false),
    },
    {
      ...{ name: 'resetPassword', description: 'Gives a user another password.', changes: true },
      inputs: [
        IDENTITY,
        {
          ...text('newPassword', 'The new password: 8 characters or more, of three kinds.'),
          required: true,
          sensitive: true,
        },
      ],
      run: resetPassword,
    },
    {
      ...{ name: 'listUsers', description: 'Lists users, by account name.' },
      inputs: [
        { name: 'enabled', types: ['boolean'], description: 'Only those who may sign in, or may not.' },
        text('department', 'Only those of this department.'),
        ...PAGE,
      ],
      run: listUsers,
    },
    {
      ...{ name: 'listGroups', description: 'Lists groups, by name.', inputs: PAGE },
      run: ({ groups }, inputs) => page('groups', sorted(groups, ({ name }) => name).map(shownGroup), inputs),
    },
    {
      ...{
        name: 'checkGroupMembership',
        description: 'Says whether a user is a member of a group.',
        inputs: [IDENTITY, GROUP],
      },
      run: (state, inputs) =>
        withUser(state, inputs, ({ sAMAccountName }) =>
          withGroup(state, inputs, ({ members }) => ({
            success: true,
            data: { isMember: members.includes(sAMAccountName) },
          })),
        ),
    },
    {
      ...{ name: 'checkAccountExists', description: 'Says whether there is a user.', inputs: [IDENTITY] },
      run: ({ users }, { identity }) => ({
        success: true,
        data: { exists: users.some((user) => isUser(user, identity as string)) },
      }),
    },
    {
      ...{ name: 'createAccount', description: 'Makes a user.', changes: true },
      inputs: [
        { ...text('username', 'Its sAMAccountName, at most 20 characters.'), required: true },
        PASSWORD_INPUT,
        ...[
          text('givenName', 'Given name.'),
          text('surname', 'Surname.'),
          text('displayName', 'Default given name and surname.'),
        ],
        ...[
          text('mail', `Default the account name at ${DOMAIN}.`),
          text('title', 'Title.'),
          text('department', 'Department.'),
        ],
        { name: 'enabled', types: ['boolean'], description: 'Whether it may sign in; default yes.' },
      ],
      run: createAccount,
    },
  ],
});

/** Says the same of who is unknown as of a wrong password. */
async function authenticate({ users }: State, inputs: JsonObject): Promise<Result> {
  const { identity, password } = inputs as { identity: string; password: string };
  const user = users.find((candidate) => isUser(candidate, identity));
  if (!user || !(await isPassword(password, user.password))) return failed('invalid credentials');
  if (!user.enabled) return failed('the account is disabled');
  return { success: true, data: { authenticated: true, sAMAccountName: user.sAMAccountName } };
}

function setEnabled(state: State, inputs: JsonObject, enabled: boolean): Result {
  return withUser(state, inputs, (user) => ({
    success: true,
    data: { sAMAccountName: user.sAMAccountName, enabled, changed: user.enabled !== enabled },
    state: withChanged(state, user, { enabled }),
  }));
}

function setMember(state: State, inputs: JsonObject, member: boolean): Result {
  return withUser(state, inputs, ({ sAMAccountName }) =>
    withGroup(state, inputs, (group) => {
      const others = group.members.filter((name) => name !== sAMAccountName);
      const changed = group.members.includes(sAMAccountName) !== member;
      const next = { ...group, members: member ? [...others, sAMAccountName] : others };
      const groups = state.groups.map((known) => (known === group ? next : known));
      const data = { sAMAccountName, group: group.name, isMember: member, changed };
      return { success: true, data, state: { ...state, groups } };
    }),
  );
}

async function resetPassword(state: State, inputs: JsonObject, now: Date): Promise<Result> {
  const { newPassword } = inputs as { newPassword: string };
  if (!isComplex(newPassword)) return failed('the password does not meet the requirements of the domain');
  const password = await hashPassword(newPassword);
  return withUser(state, inputs, (user) => ({
    success: true,
    data: { sAMAccountName: user.sAMAccountName },
    state: withChanged(state, user, { password, pwdLastSet: now.toISOString() }),
  }));
}

async function createAccount(state: State, inputs: JsonObject, now: Date): Promise<Result> {
  const {
    username,
    password,
    enabled = true,
    ...given
  } = inputs as { username: string; password: string; enabled?: boolean };
  // What sAMAccountName may not hold (https://learn.microsoft.com/windows/win32/adschema/a-samaccountname), and @ and space, which would make it another's name.
  if (username.length > 20 || /["/\\[\]:;|=,+*?<>@\s\0]/.test(username))
    throw fieldInvalid(at('inputs', 'username'), 'is no name of an account');
  const {
    givenName = '',
    surname = '',
    mail = `${username}@${DOMAIN}`,
    title = '',
    department = '',
  } = given as Partial<User>;
  const { displayName = `${givenName} ${surname}`.trim() || username } = given as Partial<User>;
  if (!isComplex(password)) return failed('the password does not meet the requirements of the domain');
  if ([username, `${username}@${DOMAIN}`, mail].some((name) => state.users.some((user) => isUser(user, name))))
    return failed('there is such an account');
  if (state.users.length >= MOST_USERS) return failed(`the domain holds at most ${MOST_USERS} users`);
  const time = now.toISOString();
  const user: User = {
    ...{ sAMAccountName: username, displayName, givenName, surname, mail, title, department, enabled },
    ...{ password: await hashPassword(password), pwdLastSet: time, whenCreated: time },
  };
  const next = { ...state, users: [...state.users, user] };
  return { success: true, data: { user: shownUser(next, user) }, state: next };
}

function listUsers(state: State, inputs: JsonObject): Result {
  const { enabled, department } = inputs as { enabled?: boolean; department?: string };
  const users = state.users.filter(
    (user) =>
      (enabled === undefined || user.enabled === enabled) &&
      (department === undefined || user.department.toLowerCase() === department.toLowerCase()),
  );
  return page(
    'users',
    sorted(users, (user) => user.sAMAccountName).map((user) => shownUser(state, user)),
    inputs,
  );
}

function failed(error: string): Result {
  return { success: false, error };
}

function withUser(state: State, { identity }: JsonObject, then: (user: User) => Result): Result {
  const user = state.users.find((candidate) => isUser(candidate, identity as string));
  return user ? then(user) : failed('there is no such user');
}

function withGroup(state: State, { group }: JsonObject, then: (group: Group) => Result): Result {
  const wanted = (group as string).toLowerCase();
  const found = state.groups.find(({ name }) => [name, groupDn(name)].some((known) => known.toLowerCase() === wanted));
  return found ? then(found) : failed('there is no such group');
}

function isUser(user: User, identity: string): boolean {
  const names = [user.sAMAccountName, principalName(user), user.mail, userDn(user)];
  return names.some((name) => name.toLowerCase() === identity.toLowerCase());
}

function withChanged(state: State, user: User, changes: Partial<User>): State {
  return { ...state, users: state.users.map((known) => (known === user ? { ...user, ...changes } : known)) };
}

/** Without the hash of the password. */
function shownUser({ groups }: State, { password: _, ...user }: User): JsonObject {
  const memberOf = groups
    .filter(({ members }) => members.includes(user.sAMAccountName))
    .map(({ name }) => groupDn(name));
  return { ...user, userPrincipalName: principalName(user), distinguishedName: userDn(user), memberOf };
}

function shownGroup({ name, description, members }: Group): JsonObject {
  return { name, description, distinguishedName: groupDn(name), memberCount: members.length };
}

/** Account names are unique and hold nothing that a name must escape, which display names do not promise. */
function userDn({ sAMAccountName }: Pick<User, 'sAMAccountName'>): string {
  return `CN=${sAMAccountName},CN=Users,DC=example,DC=com`;
}

function groupDn(name: string): string {
  return `CN=${name},OU=Groups,DC=example,DC=com`;
}

function principalName({ sAMAccountName }: Pick<User, 'sAMAccountName'>): string {
  return `${sAMAccountName}@${DOMAIN}`;
}

function page(name: string, items: JsonObject[], inputs: JsonObject): Result {
  const { limit, offset } = inputs as { limit: number; offset: number };
  const shown = items.slice(offset, offset + limit);
  return { success: true, data: { [name]: shown, count: shown.length, total: items.length } };
}

function sorted<T>(items: readonly T[], keyOf: (item: T) => string): T[] {
  return items.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

/** As domains want it by default: three of upper case, lower case, digits and others. */
function isComplex(password: string): boolean {
  const kinds = [/\p{Lu}/u, /\p{Ll}/u, /\p{Nd}/u, /[^\p{L}\p{Nd}]/u].filter((kind) => kind.test(password));
  return password.length >= 8 && kinds.length >= 3;
}

async function seed(now: Date): Promise<State> {
  const password = await hashPassword(PASSWORD);
  const time = now.toISOString();
  const users = PEOPLE.map(
    ({ username, givenName, surname, title, department, enabled }): User => ({
      ...{ sAMAccountName: username, displayName: `${givenName} ${surname}`, givenName, surname, title, department },
      ...{ mail: `${username}@${DOMAIN}`, enabled, password, pwdLastSet: time, whenCreated: time },
    }),
  );
  return { users, groups: GROUPS.map((group) => ({ ...group, members: [...group.members] })) };
}
