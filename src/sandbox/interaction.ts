import type { IncomingMessage, ServerResponse } from 'node:http';
import type Provider from 'oidc-provider';
import type { InteractionResults } from 'oidc-provider';
import { consentPage } from './consent-page.ts';
import { messagePage, PAGE_HEADERS } from './page.ts';
import { personOf } from './people.ts';

type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>;

/** The page on which a person decides, and what they decided. The cookie that oidc-provider set says which request it is about. */
export async function serveInteraction(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let interaction: Interaction;
  try {
    interaction = await provider.interactionDetails(request, response);
  } catch {
    return send(response, 400, messagePage('This cannot go on', 'The request has expired, or is another browser’s.'));
  }
  if (request.method === 'POST') return decide(provider, interaction, request, response);
  const { login_hint: hint } = interaction.params;
  send(response, 200, consentPage(scopesOf(interaction), typeof hint === 'string' ? hint : ''));
}

async function decide(
  provider: Provider,
  interaction: Interaction,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const form = new URLSearchParams(await bodyOf(request));
  const person = personOf(form.get('person') ?? '');
  const allowed = form.get('decision') === 'allow' && person;
  const result: InteractionResults = allowed
    ? await consent(provider, interaction, person.id, form.getAll('scope'))
    : { error: 'access_denied', error_description: 'The person declined' };
  await forgetSession(provider, interaction);
  await provider.interactionFinished(request, response, result);
}

/** A grant of its own for each time, so that one may be revoked and the others live on. */
async function consent(
  provider: Provider,
  interaction: Interaction,
  accountId: string,
  ticked: string[],
): Promise<InteractionResults> {
  const grant = new provider.Grant({ accountId, clientId: String(interaction.params.client_id) });
  for (const scope of scopesOf(interaction)) {
    if (scope === 'openid' || ticked.includes(scope)) grant.addOIDCScope(scope);
    else grant.rejectOIDCScope(scope);
  }
  return { login: { accountId, remember: false }, consent: { grantId: await grant.save() } };
}

/** Each time one may be another person: who one was before is forgotten. */
async function forgetSession(provider: Provider, interaction: Interaction): Promise<void> {
  if (!interaction.session) return;
  await (await provider.Session.findByUid(interaction.session.uid))?.destroy();
  interaction.session = undefined;
  await interaction.save(interaction.exp - Math.floor(Date.now() / 1000));
}

const MAX_FORM_CHARS = 16_384;

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk;
    if (body.length > MAX_FORM_CHARS) throw new Error('The form is too large');
  }
  return body;
}

function scopesOf({ params }: Interaction): string[] {
  return typeof params.scope === 'string' ? params.scope.split(' ').filter((scope) => scope !== '') : [];
}

function send(response: ServerResponse, status: number, html: string): void {
  response.writeHead(status, PAGE_HEADERS).end(html);
}
