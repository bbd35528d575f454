import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { escapeHtml } from '../base/html.ts';

/** What a person reads at the end of an authorization. All of it is text: markup in it is shown, not obeyed. */
export type Page = {
  status: number;
  good: boolean;
  title: string;
  text: string;
  details: [name: string, value: string][];
};

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --ground: #f9f9fb; --card: #fff; --line: #e0e1e6; --good: #18794e; --bad: #ca244d }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba; --ground: #111113; --card: #18191b; --line: #363a3f; --good: #3dd68c; --bad: #ff6369 } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { width: min(28rem, calc(100vw - 2rem)); padding: 2.5rem 2rem; background: var(--card); border: 1px solid var(--line); border-radius: 12px; text-align: center }
svg { width: 48px; height: 48px; fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.good svg { stroke: var(--good) } .bad svg { stroke: var(--bad) }
h1 { margin: 1rem 0 .5rem; font-size: 1.375rem; line-height: 1.3 }
p { margin: 0; color: var(--soft) }
dl { margin: 1.5rem 0 0; padding-top: 1rem; border-top: 1px solid var(--line); display: grid; grid-template-columns: auto 1fr; gap: .25rem 1rem; font-size: .8125rem; text-align: left }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
`;
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');
const ICONS = {
  good: '<circle cx="12" cy="12" r="10"/><path d="m8 12.5 2.7 2.7L16 9.5"/>',
  bad: '<circle cx="12" cy="12" r="10"/><path d="M12 7.5v5.5M12 16.5v.01"/>',
};

/** Answers with the page. No script runs in it, nothing is loaded into it, nobody frames or stores it. */
export function sendPage(response: ServerResponse, page: Page): void {
  const { status, good, title, text, details } = page;
  const rows = details
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`);
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head>
<body><main class="${good ? 'good' : 'bad'}"><svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[good ? 'good' : 'bad']}</svg>
<h1>${escapeHtml(title)}</h1><p>${escapeHtml(text)}</p>${rows.length > 0 ? `<dl>${rows.join('')}</dl>` : ''}</main></body></html>
`;
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': POLICY,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-frame-options': 'DENY',
  });
  response.end(html);
}
