import { createHash } from 'node:crypto';
import { escapeHtml } from '../base/html.ts';

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --ground: #f9f9fb; --card: #fff; --line: #e0e1e6; --accent: #3e63dd; --note: #fff7c2; --note-ink: #4f3422 }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba; --ground: #111113; --card: #18191b; --line: #363a3f; --note: #302008; --note-ink: #ffe7b3 } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { width: min(28rem, calc(100vw - 2rem)); margin: 1rem 0; padding: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: 12px }
h1 { margin: 0 0 .5rem; font-size: 1.375rem; line-height: 1.3 }
p { margin: 0 0 1rem; color: var(--soft) }
.note { margin: -2rem -2rem 1.5rem; padding: .5rem 2rem; border-radius: 11px 11px 0 0; background: var(--note); color: var(--note-ink); font-size: .8125rem }
fieldset { margin: 0 0 1.25rem; padding: 0; border: 0 }
legend { padding: 0; margin-bottom: .375rem; font-weight: 600 }
label { display: flex; gap: .625rem; align-items: baseline; padding: .5rem .75rem; border: 1px solid var(--line); border-radius: 8px }
label + label { margin-top: .375rem }
label:has(:checked) { border-color: var(--accent) }
input { accent-color: var(--accent) }
input[type=text] { width: 100%; padding: .625rem; border: 1px solid var(--line); border-radius: 8px; background: transparent; color: inherit; font: inherit; letter-spacing: .1em; text-transform: uppercase }
small { display: block; color: var(--soft) }
code { font-size: .875em }
.code { font-size: 1.5rem; text-align: center; letter-spacing: .1em }
.buttons { display: flex; gap: .625rem; margin-top: 1rem }
button { flex: 1; padding: .625rem 1rem; border: 1px solid var(--line); border-radius: 8px; background: transparent; color: inherit; font: inherit; cursor: pointer }
button.main { border-color: var(--accent); background: var(--accent); color: #fff; font-weight: 600 }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
`;

/** No script runs, nothing is loaded, nobody frames it. Without `form-action`: browsers hold that against every address that the answer to a form leads to. */
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** Headers of every page of the sandbox. */
export const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': POLICY,
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
};

/**
 * A page of the sandbox.
 * @param body HTML
 */
export function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<title>${escapeHtml(title)} · Sandbox</title><style>${STYLE}</style></head>
<body><main><div class="note">Latchkey’s sandbox: a pretended provider, to try things out</div>
<h1>${escapeHtml(title)}</h1>${body}</main></body></html>
`;
}

/** A page that says one thing. */
export function messagePage(title: string, text: string): string {
  return page(title, `<p>${escapeHtml(text)}</p>`);
}
