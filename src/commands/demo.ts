import { StartError } from '../base/error.ts';
import { readClientConfig } from '../config.ts';
import { Browser } from '../demo/browser.ts';
import { allowAs } from '../demo/sandbox-form.ts';
import { SANDBOX_CLIENT } from '../sandbox/client.ts';
import { type Call, callerOf } from './client.ts';
import { note, print, printJson } from './output.ts';

type Provider = { definition: { name: string; oauth?: { issuer: string; identity: { url: string } } } };
type Connection = { id: string; name: string };
type Started = { authorization: { id: string; connectionId: string }; authorizationUrl: string };
type Authorization = { status: string; reason?: string; providerError?: string };
type Credentials = { headers: { name: string; value: string }[]; expireTime?: string };

const CONNECTION_NAME = 'sandbox-demo';
const PERSON = 'ada';

/** Where the demo runs, and whom it tells what it does. */
type Stage = { url: string; call: Call; say: (text: string) => void };

/** Connects an account of the sandbox as an application and a person would, and uses the token. */
export async function demo({ json = false }): Promise<void> {
  const { url, key } = readClientConfig();
  const call = callerOf(url, key);
  const stage: Stage = { url, call, say: json ? note : print };
  const identityUrl = await findSandbox(stage);
  const integrationId = await setUp(stage);
  const { authorization, authorizationUrl } = await begin(stage, integrationId);
  await decide(stage, authorizationUrl);
  const { authorization: ended } = await call<{ authorization: Authorization }>('ConnectionService/GetAuthorization', {
    authorizationId: authorization.id,
  });
  if (ended.status !== 'AUTHORIZATION_STATUS_SUCCEEDED')
    throw new StartError(`The authorization ended with ${ended.reason ?? ended.status} ${ended.providerError ?? ''}`);
  const { connectionId } = authorization;
  stage.say(`Connected       ${connectionId}`);
  const identity = await useToken(stage, connectionId, identityUrl);
  if (json) printJson({ integrationId, authorizationId: authorization.id, connectionId, identity });
}

/** Answers where the sandbox says whose account a token is for. */
async function findSandbox({ call, url, say }: Stage): Promise<string> {
  const { providers } = await call<{ providers: Provider[] }>('IntegrationService/ListProviders', { pageSize: 100 });
  const oauth = providers.find(({ definition }) => definition.name === 'sandbox')?.definition.oauth;
  if (!oauth)
    throw new StartError(
      `${url} runs no sandbox: it runs in production, with SANDBOX=off, or with a narrow EGRESS_ALLOW.`,
    );
  say(`Sandbox         ${oauth.issuer}`);
  return oauth.identity.url;
}

/** The integration that is there, or a new one. */
async function setUp({ call, say }: Stage): Promise<string> {
  type Listed = { integrations?: { id: string }[] };
  const { integrations = [] } = await call<Listed>('IntegrationService/ListIntegrations', { provider: 'sandbox' });
  const id = integrations[0]?.id ?? (await create(call));
  await call('IntegrationService/SetIntegrationCredentials', {
    ...{ integrationId: id, clientId: SANDBOX_CLIENT.id, clientSecrets: [SANDBOX_CLIENT.secret] },
  });
  say(`Integration     ${id}, with client ${SANDBOX_CLIENT.id}`);
  return id;
}

async function create(call: Call): Promise<string> {
  type Created = { integration: { id: string } };
  const { integration } = await call<Created>('IntegrationService/CreateIntegration', { provider: 'sandbox' });
  return integration.id;
}

/** For the connection of the run before, where there is one. */
async function begin({ call, say }: Stage, integrationId: string): Promise<Started> {
  const { connections = [] } = await call<{ connections?: Connection[] }>('ConnectionService/ListConnections', {
    ...{ integrationId, text: CONNECTION_NAME },
  });
  const known = connections.find(({ name }) => name === CONNECTION_NAME);
  const started = await call<Started>('ConnectionService/StartAuthorization', {
    ...{ integrationId, scopes: ['profile'], loginHint: PERSON, allowAccountChange: true },
    ...(known ? { connectionId: known.id } : { newConnection: { name: CONNECTION_NAME } }),
  });
  say(`Authorization   ${started.authorization.id}; a person would now be sent to Latchkey’s start page`);
  return started;
}

/** Plays the person and their browser. */
async function decide({ say }: Stage, authorizationUrl: string): Promise<void> {
  const browser = new Browser();
  const consent = await browser.open(authorizationUrl);
  if (!consent.html.includes('name="decision"'))
    throw new StartError(`The browser came to ${consent.url.origin}${consent.url.pathname}, status ${consent.status}`);
  say(`Browser         at ${consent.url.origin}${consent.url.pathname}`);
  const end = await browser.submit(consent.url, allowAs(PERSON, consent));
  say(`Person          is ${PERSON}, allows; the browser is back at ${end.url.origin}${end.url.pathname}`);
}

/** Answers whose account the provider says it is. */
async function useToken({ call, say }: Stage, connectionId: string, identityUrl: string): Promise<unknown> {
  const { headers, expireTime } = await call<Credentials>('ConnectionService/GetCredentials', { connectionId });
  say(`Credentials     header ${headers.map(({ name }) => name).join(', ')}, good until ${expireTime ?? 'revoked'}`);
  const answer = await fetch(identityUrl, { headers: headers.map(({ name, value }) => [name, value]) });
  const said = await answer.text();
  if (!answer.ok) throw new StartError(`${identityUrl} answered ${answer.status}: ${said}`);
  say(`It works        ${identityUrl} says ${said}`);
  return JSON.parse(said);
}
