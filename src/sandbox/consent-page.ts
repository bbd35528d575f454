import { escapeHtml } from '../base/html.ts';
import { page } from './page.ts';
import { PEOPLE, type Person } from './people.ts';
import { SANDBOX_SCOPES } from './scopes.ts';

/** Where one says who one is, and what may be done: sign-in and consent at once. The form comes back to the page's own address. */
export function consentPage(scopes: readonly string[], loginHint: string): string {
  const chosen = PEOPLE.find(({ id, email }) => loginHint === id || loginHint === email) ?? PEOPLE[0]!;
  return page(
    'Connect Latchkey',
    `<p>An application asks for access to an account. Who are you, and what may it do?</p>
<form method="post">
<fieldset><legend>You are</legend>${PEOPLE.map((person) => personRow(person, person === chosen)).join('')}</fieldset>
<fieldset><legend>It may</legend>${scopes.map(scopeRow).join('')}</fieldset>
<div class="buttons"><button name="decision" value="deny">Deny</button><button class="main" name="decision" value="allow">Allow</button></div>
</form>`,
  );
}

function personRow({ id, name, email }: Person, checked: boolean): string {
  return `<label><input type="radio" name="person" value="${escapeHtml(id)}"${checked ? ' checked' : ''}><span>${escapeHtml(name)}<small>${escapeHtml(email)}</small></span></label>`;
}

/** Without `openid` there is nothing to ask whose account it is, so that it cannot be taken out. */
function scopeRow(scope: string): string {
  const fixed = scope === 'openid' ? ' disabled' : '';
  return `<label><input type="checkbox" name="scope" value="${escapeHtml(scope)}" checked${fixed}><span>${escapeHtml(SANDBOX_SCOPES[scope] ?? scope)}<small><code>${escapeHtml(scope)}</code></small></span></label>`;
}
