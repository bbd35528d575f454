import type { Page } from './browser.ts';

/** What a person would send of the sandbox's page, having left everything ticked: its forms are ours, so that this much reading will do. */
export function allowAs(person: string, { html }: Page): URLSearchParams {
  const form = new URLSearchParams({ person, decision: 'allow' });
  for (const [, attributes = ''] of html.matchAll(/<input type="checkbox"([^>]*)>/g)) {
    const scope = /value="([^"]*)"/.exec(attributes)?.[1];
    if (scope && !/ disabled/.test(attributes)) form.append('scope', scope);
  }
  return form;
}
