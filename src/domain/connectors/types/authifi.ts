import { fieldInvalid } from '../../../base/error.ts';
import { isPointer, pointer } from '../../../base/json-pointer.ts';
import type { JsonObject, JsonValue } from '../../../model/json.ts';
import type { RequestResult } from '../../requests/send-request.ts';
import { at } from '../check-values.ts';
import type { ConnectorContext, ConnectorResult, ConnectorType, Input } from '../connector-type.ts';
import { CONNECTION, jsonOf, requestThrough } from '../through-connection.ts';

const MOST_ITEMS = 1_000;

type Settings = {
  connectionId: string;
  baseUrl: string;
  tenantId: string;
  groupsPath: string;
  membersPath: string;
  memberPath: string;
  addMethod: 'PUT' | 'POST';
  addPath: string;
  addBody: JsonObject;
  itemsPointer: string;
};

const setting = (name: string, fallback: string, description: string): Input => ({
  ...{ name, types: ['string'], default: fallback, maxLength: 500, description },
});

/**
 * Where the Admin API has what is needed. That it is about tenants, under `/auth/admin/tenants/{tenantId}`, is documented (https://authifi.pages.dev/authorization/super-admin-access); what it
 * calls the groups below is not, so that each path is a setting, with a guess by default.
 */
const SETTINGS: readonly Input[] = [
  CONNECTION,
  setting('baseUrl', '', 'Where the Admin API is, on a host of the connection; empty: the base URL of the connection.'),
  setting('tenantId', '', 'What {tenantId} in paths stands for.'),
  setting('groupsPath', '/auth/admin/tenants/{tenantId}/groups', 'Path of the groups.'),
  setting('membersPath', '/auth/admin/tenants/{tenantId}/groups/{groupId}/users', 'Path of the members of a group.'),
  setting(
    'memberPath',
    '/auth/admin/tenants/{tenantId}/groups/{groupId}/users/{userId}',
    'Path of one member, to look at and to remove; 404 there means that it is none.',
  ),
  { ...setting('addMethod', 'PUT', 'Method that adds a member.'), choices: ['PUT', 'POST'] },
  setting(
    'addPath',
    '/auth/admin/tenants/{tenantId}/groups/{groupId}/users/{userId}',
    'Path at which a member is added.',
  ),
  {
    name: 'addBody',
    types: ['object'],
    default: {},
    maxItems: 20,
    description: 'What is sent to add a member; {userId} and {groupId} stand for the ids. Empty: nothing.',
  },
  setting(
    'itemsPointer',
    '',
    'Where in its answers the list is (RFC 6901); empty: the answer is the list, or has no other list.',
  ),
];

const id = (name: string, description: string): Input => ({
  ...{ name, types: ['string'], required: true, maxLength: 200, description },
});
const GROUP_ID = id('groupId', 'The group.');
const USER_ID = id('userId', 'The user.');

/** Group membership at Authifi. */
export const authifi: ConnectorType = {
  ...{ name: 'authifi', version: '1.0.0', executionModel: 'built_in', displayName: 'Authifi' },
  description: 'Manages who is in the groups of an Authifi tenant, by its Admin API, with the token of a connection.',
  defaultCommand: 'listMembers',
  settings: SETTINGS,
  commands: [
    { name: 'test', description: 'Tries to list the groups.', inputs: [] },
    { name: 'listGroups', description: 'Lists the groups.', inputs: [] },
    { name: 'listMembers', description: 'Lists the members of a group.', inputs: [GROUP_ID] },
    { name: 'addMember', description: 'Makes a user a member of a group.', inputs: [GROUP_ID, USER_ID] },
    { name: 'removeMember', description: 'Takes a user out of a group.', inputs: [GROUP_ID, USER_ID] },
    {
      name: 'checkMembership',
      description: 'Says whether a user is a member of a group.',
      inputs: [GROUP_ID, USER_ID],
    },
  ],
  execute(context) {
    const { groupId, userId } = context.inputs as { groupId: string; userId: string };
    const settings = context.config as Settings;
    switch (context.command) {
      case 'listMembers':
        return list(context, settings.membersPath, 'members');
      case 'addMember':
        return addMember(context, settings);
      case 'removeMember':
        return member(context, 'DELETE', (isMember) => ({ groupId, userId, isMember: false, changed: isMember }));
      case 'checkMembership':
        return member(context, 'GET', (isMember) => ({ groupId, userId, isMember }));
      default:
        return list(context, settings.groupsPath, 'groups');
    }
  },
};

async function list(context: ConnectorContext, path: string, name: string): Promise<ConnectorResult> {
  const { itemsPointer } = context.config as Settings;
  if (!isPointer(itemsPointer)) throw fieldInvalid(at('config', 'itemsPointer'), 'is no JSON pointer');
  const sent = await send(context, 'GET', path);
  if ('failure' in sent) return sent.failure;
  if (!isSuccess(sent.answer)) return refused(sent.answer);
  const items = itemsOf(sent.answer, itemsPointer);
  if (!items) return { success: false, error: 'the answer holds no list', data: { status: sent.answer.status } };
  const shown = items.slice(0, MOST_ITEMS);
  return { success: true, data: { [name]: shown, count: shown.length, truncated: items.length > shown.length } };
}

/** 409 says that it is one. */
async function addMember(
  context: ConnectorContext,
  { addMethod, addPath, addBody }: Settings,
): Promise<ConnectorResult> {
  const ids = context.inputs as { groupId: string; userId: string };
  const body = Object.keys(addBody).length > 0 ? { kind: 'json' as const, value: filled(addBody, ids) } : null;
  const sent = await send(context, addMethod, addPath, body);
  if ('failure' in sent) return sent.failure;
  const { status } = sent.answer;
  if (!isSuccess(sent.answer) && status !== 409) return refused(sent.answer);
  return { success: true, data: { ...ids, isMember: true, changed: status !== 409 } };
}

/** Something that 404 answers as well: there is no such member. */
async function member(
  context: ConnectorContext,
  method: 'GET' | 'DELETE',
  told: (isMember: boolean) => JsonObject,
): Promise<ConnectorResult> {
  const sent = await send(context, method, (context.config as Settings).memberPath);
  if ('failure' in sent) return sent.failure;
  if (!isSuccess(sent.answer) && sent.answer.status !== 404) return refused(sent.answer);
  return { success: true, data: told(sent.answer.status !== 404) };
}

function send(
  { call, config, inputs }: ConnectorContext,
  method: string,
  template: string,
  body: { kind: 'json'; value: JsonValue } | null = null,
) {
  const { connectionId, baseUrl, tenantId } = config as Settings;
  const path = template.replace(/\{(\w+)\}/g, (mark, name: string) => {
    if (name === 'tenantId') return segment(at('config', name), tenantId);
    const value = inputs[name];
    return typeof value === 'string' ? segment(at('inputs', name), value) : mark;
  });
  const whole = baseUrl ? `${baseUrl.replace(/\/+$/, '')}/${path.replace(/^\/+/, '')}` : path;
  // What is wrong with the path the settings say.
  return requestThrough(call, { connectionId, method, path: whole, body }, () => 'config');
}

/** An id as part of a path, which it stays one of. Fails with FIELD_INVALID. */
function segment(field: string, text: string): string {
  if (text === '') throw fieldInvalid(field, 'is required');
  if (text === '.' || text === '..') throw fieldInvalid(field, 'is no id');
  return encodeURIComponent(text);
}

function filled(value: JsonValue, ids: Record<string, string>): JsonValue {
  if (typeof value === 'string')
    return value.replace(/\{(\w+)\}/g, (mark, name: string) => (Object.hasOwn(ids, name) ? ids[name]! : mark));
  if (Array.isArray(value)) return value.map((item) => filled(item, ids));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, filled(item, ids)]));
}

function itemsOf(answer: RequestResult, where: string): JsonValue[] | null {
  const document = jsonOf(answer);
  if (where !== '') {
    const found = pointer(document, where) as JsonValue | undefined;
    return Array.isArray(found) ? found : null;
  }
  if (Array.isArray(document)) return document;
  const lists = typeof document === 'object' && document ? Object.values(document).filter(Array.isArray) : [];
  return lists.length === 1 ? lists[0]! : null;
}

function isSuccess({ status }: RequestResult): boolean {
  return status >= 200 && status < 300;
}

function refused({ status }: RequestResult): ConnectorResult {
  return { success: false, error: `the Admin API answered ${status}`, data: { status } };
}
