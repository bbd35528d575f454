import type { KoaContextWithOIDC } from 'oidc-provider';
import { escapeHtml } from '../base/html.ts';
import { messagePage, PAGE_HEADERS, page } from './page.ts';

/** Pages of the device flow (RFC 8628). The forms are oidc-provider's own; the buttons name them. */
export const devicePages = {
  userCodeInputSource(ctx: KoaContextWithOIDC, form: string, _out?: unknown, error?: unknown): void {
    const text = error
      ? 'That did not work. Please enter the code anew.'
      : 'Enter the code that the application shows.';
    const button = '<button class="main" type="submit" form="op.deviceInputForm">Continue</button>';
    answer(ctx, page('Connect a device', `<p>${text}</p>${form}<div class="buttons">${button}</div>`));
  },
  userCodeConfirmSource(
    ctx: KoaContextWithOIDC,
    form: string,
    _client: unknown,
    _device: unknown,
    userCode: string,
  ): void {
    const buttons = `<button type="submit" form="op.deviceConfirmForm" name="abort" value="yes">Stop</button>
<button class="main" type="submit" form="op.deviceConfirmForm">Continue</button>`;
    answer(
      ctx,
      page(
        'Is this the code?',
        `<p>Go on only if the application shows the same.</p><p class="code"><code>${escapeHtml(userCode)}</code></p>
${form}<div class="buttons">${buttons}</div>`,
      ),
    );
  },
  successSource(ctx: KoaContextWithOIDC): void {
    answer(ctx, messagePage('The device is connected', 'You can close this window.'));
  },
};

/** The page of an error that cannot be sent back to the client. */
export function renderError(ctx: KoaContextWithOIDC, out: { error: string; error_description?: string }): void {
  answer(ctx, messagePage('This cannot go on', `${out.error}: ${out.error_description ?? 'no more is known'}`));
}

function answer(ctx: KoaContextWithOIDC, html: string): void {
  ctx.set(PAGE_HEADERS);
  ctx.body = html;
}
