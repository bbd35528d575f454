import { setTimeout as pause } from 'node:timers/promises';
import { LatchkeyError } from '../../base/error.ts';
import { Langflow, type LangflowCaller, type LangflowTokens } from '../../clients/langflow/langflow.ts';
import { isRefused, LangflowError, langflowFailure } from '../../clients/langflow/langflow-error.ts';
import { isAbsent, LOOKS_MS, settled } from '../../clients/langflow/settled.ts';
import type {
  AccountState,
  HealthReport,
  ProviderBehaviour,
  ProviderInstance,
  ProviderPlace,
  SaveAccount,
} from '../behaviour.ts';

/**
 * Langflow: an account is a user there with a password that nobody knows and an API key. The user makes the key itself, logged in: Langflow has no
 * key on behalf of somebody.
 */
export const langflowBehaviour: ProviderBehaviour = {
  accounts: {
    keyHeader: 'x-api-key',
    inUserService: true,
    provision: (instance, state, save, { newKey }) =>
      translated(instance, () => provision(stepsOf(instance, state, save), newKey)),
    takeOver: (instance, known) => translated(instance, () => takeOver(instance, known)),
    endKey: (instance, state, save) => translated(instance, () => endKey(stepsOf(instance, state, save))),
    remove: (instance, state) => translated(instance, () => remove(instance, state)),
  },
  renewTokens: (instance, state, save) => translated(instance, () => renewTokens(stepsOf(instance, state, save))),
  checkKey: (instance, state) => translated(instance, () => checkKey(instance, state)),
  checkHealth,
};

type Steps = { instance: ProviderInstance; admin: string; langflow: Langflow; state: AccountState; save: SaveAccount };

/** The state follows what is saved. */
function stepsOf(instance: ProviderInstance, given: Readonly<AccountState>, save: SaveAccount): Steps {
  const state = { ...given };
  return {
    ...{ instance, admin: instance.adminKey.reveal(), langflow: langflowAt(instance), state },
    async save(achieved) {
      await save(achieved);
      Object.assign(state, achieved);
    },
  };
}

export function langflowAt({ baseUrl, door }: Pick<ProviderInstance, 'baseUrl' | 'door'>): Langflow {
  return new Langflow(baseUrl, door);
}

async function translated<T>({ integrationId }: ProviderInstance, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw langflowFailure(error, { operation: 'account', integrationId });
  }
}

async function provision(steps: Steps, newKey: boolean): Promise<void> {
  const { state, save, langflow } = steps;
  try {
    await makeUser(steps);
  } catch (error) {
    if (!(error instanceof UserGone)) throw error;
    // Somebody deleted it there: it is made once more, under the same name.
    await save({ remoteId: '', active: false, apiKey: '', tokens: null });
    await makeUser(steps);
  }
  if (state.apiKey && !newKey) return;
  const tokens = await logInOrMend(steps);
  await save({ tokens });
  const before = await settled(() => langflow.keysNamed(tokens.accessToken, KEY_NAME), isEarly);
  const apiKey = await langflow.createKey(tokens.accessToken, KEY_NAME);
  // Those that were replaced, and what interrupted attempts left, are nobody's. Only then is the key ours, or nobody would come back for them.
  for (const id of before) await langflow.deleteKey(tokens.accessToken, id);
  await save({ apiKey });
  await settled(() => langflow.whoAmI({ key: state.apiKey }), isRefused);
}

const KEY_NAME = 'latchkey';

/** Whoever knows the password may have the account, and nobody else: a record could name anybody's. */
async function takeOver(instance: ProviderInstance, known: Known): Promise<AccountState | null> {
  const state = { ...known, remoteId: '', active: true, tokens: null };
  const steps = stepsOf(instance, state, async () => {});
  try {
    const tokens = await logIn(steps);
    return { ...state, tokens, remoteId: await steps.langflow.whoAmI({ bearer: tokens.accessToken }) };
  } catch (error) {
    if (isRefusedLogin(error)) return null;
    throw error;
  }
}

type Known = { username: string; password: string; apiKey: string };

async function makeUser(steps: Steps): Promise<void> {
  const { state, save } = steps;
  if (!state.remoteId) await save({ remoteId: await createUser(steps), active: false });
  if (state.active) return;
  await changeUser(steps, { active: true });
  await save({ active: true });
}

/** A name that is taken is ours: it was sent before, and the answer was lost. Its password then becomes the one that is stored. */
async function createUser({ langflow, admin, state: { username, password } }: Steps): Promise<string> {
  try {
    return await langflow.createUser(admin, username, password);
  } catch (error) {
    if (!(error instanceof LangflowError) || error.status !== 400) throw error;
    const taken = await found(() => langflow.findUser(admin, username));
    if (!taken) throw error;
    await settled(() => langflow.changeUser(admin, taken.id, { password }));
    return taken.id;
  }
}

class UserGone extends Error {}

async function changeUser({ langflow, admin, state }: Steps, changes: { password?: string; active?: boolean }) {
  try {
    await settled(() => langflow.changeUser(admin, state.remoteId, changes));
  } catch (error) {
    throw isAbsent(error) ? new UserGone() : error;
  }
}

/** A refusal may mean that the password is another by now, which is set right once; or that somebody deactivated the user, which stays so. */
async function logInOrMend(steps: Steps): Promise<LangflowTokens> {
  try {
    return await logIn(steps);
  } catch (error) {
    if (!isRefusedLogin(error)) throw error;
    try {
      await changeUser(steps, { password: steps.state.password });
    } catch (gone) {
      if (!(gone instanceof UserGone)) throw gone;
      await steps.save({ remoteId: '', active: false, apiKey: '', tokens: null });
      await makeUser(steps);
    }
    return settled(() => logIn(steps), isRefusedLogin, LOOKS_MS.slice(2));
  }
}

/** From here no more logins than Langflow takes from one address (5 a minute since 1.10): who is told to wait tells the others. */
async function logIn({ instance, langflow, state: { username, password } }: Steps): Promise<LangflowTokens> {
  const pausedMs = instance.logins.pausedMs();
  if (pausedMs > 0) throw new LangflowError('refused', 'none', { status: 429, retryAfterMs: pausedMs });
  try {
    return await langflow.logIn(username, password);
  } catch (error) {
    if (error instanceof LangflowError && error.status === 429) instance.logins.pause(error.retryAfterMs ?? 60_000);
    throw error;
  }
}

/** By the refresh token, which stays good after it was used; else by a login. */
async function renewTokens(steps: Steps): Promise<void> {
  const { langflow, state, save } = steps;
  const refreshToken = state.tokens?.refreshToken;
  if (refreshToken) {
    try {
      await save({ tokens: await langflow.refresh(refreshToken) });
      return;
    } catch (error) {
      if (!(error instanceof LangflowError) || error.status !== 401) throw error;
    }
  }
  await save({ tokens: await logInOrMend(steps) });
}

async function endKey(steps: Steps): Promise<void> {
  const { langflow, save } = steps;
  const tokens = await logInOrMend(steps);
  for (const id of await langflow.keysNamed(tokens.accessToken, KEY_NAME))
    await langflow.deleteKey(tokens.accessToken, id);
  await save({ apiKey: '', tokens });
}

async function checkKey(instance: ProviderInstance, { apiKey, tokens, remoteId }: Readonly<AccountState>) {
  const langflow = langflowAt(instance);
  const isOfAccount = (caller: LangflowCaller) =>
    langflow.whoAmI(caller).then(
      (id) => id === remoteId,
      (error: unknown) => {
        if (isRefused(error)) return false;
        throw error;
      },
    );
  const works = {
    key: await isOfAccount({ key: apiKey }),
    tokens: !tokens || tokens.expiresAt < Date.now() || (await isOfAccount({ bearer: tokens.accessToken })),
  };
  // What refuses everybody refuses for another reason than the key.
  if (!works.key) await langflow.whoAmI({ admin: instance.adminKey.reveal() });
  return works;
}

/** By name where its id was never learnt. */
async function remove(instance: ProviderInstance, { remoteId, username }: Readonly<AccountState>): Promise<void> {
  const langflow = langflowAt(instance);
  const admin = instance.adminKey.reveal();
  const id = remoteId || (await langflow.findUser(admin, username))?.id;
  if (!id) return;
  try {
    await langflow.deleteUser(admin, id);
  } catch (error) {
    // A page can be what a version with web pages answers for a user who is not there, or that of a proxy.
    if (!isAbsent(error) || (await langflow.findUser(admin, username))) throw error;
  }
}

async function checkHealth(place: ProviderPlace, timeoutMs: number): Promise<HealthReport> {
  try {
    const { working, version } = await langflowAt(place).health(timeoutMs);
    if (!working)
      return { status: 'DEGRADED', version, message: 'It answers, and says that a part of it does not work.' };
    return { status: 'SERVING', version, message: '' };
  } catch (error) {
    return { status: 'DOWN', version: '', message: downMessage(error) };
  }
}

function downMessage(error: unknown): string {
  if (error instanceof LatchkeyError) return 'Its address may not be reached from here.';
  const answers = error instanceof LangflowError && error.failure !== 'unreachable' && error.status < 500;
  return answers ? 'What answers there is not Langflow.' : 'It does not answer.';
}

function isRefusedLogin(error: unknown): boolean {
  return error instanceof LangflowError && (error.status === 400 || error.status === 401);
}

function isEarly(error: unknown): boolean {
  return isAbsent(error) || isRefused(error);
}

async function found<T>(look: () => Promise<T | null>): Promise<T | null> {
  for (const waitMs of LOOKS_MS) {
    const thing = await look();
    if (thing) return thing;
    await pause(waitMs);
  }
  return look();
}
