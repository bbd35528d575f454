import { type HTMLElement, parse } from 'node-html-parser';
import { Browser, type Page } from '../../src/demo/browser.ts';

/** What a person does with a form: what they choose, what they untick, which button they press. */
export type Doing = { choose?: Record<string, string>; untick?: string[]; press?: string };

/** A browser in which a test plays the person. */
export class FormBrowser extends Browser {
  /** Sends the page's only form; the button is told by its value, or is the first. */
  send(page: Page, { choose = {}, untick = [], press }: Doing = {}): Promise<Page> {
    const root = parse(page.html);
    const [form, ...others] = root.querySelectorAll('form');
    if (!form || others.length > 0) throw new Error(`not one form at ${page.url}:\n${page.html}`);
    const sent = new URLSearchParams(choose);
    for (const input of form.querySelectorAll('input')) {
      const { name = '', value = '' } = input.attributes;
      if (isSent(input) && !untick.includes(value) && !(name in choose)) sent.append(name, value);
    }
    const buttons = root.querySelectorAll('button');
    const button = press === undefined ? undefined : buttons.find(({ attributes }) => attributes.value === press);
    if (press !== undefined && !button) throw new Error(`no button ${press} at ${page.url}`);
    if (button?.attributes.name) sent.append(button.attributes.name, button.attributes.value ?? '');
    return this.submit(new URL(form.attributes.action ?? '', page.url), sent);
  }
}

function isSent({ attributes }: HTMLElement): boolean {
  const mark = attributes.type === 'radio' || attributes.type === 'checkbox';
  return attributes.name !== undefined && !('disabled' in attributes) && (!mark || 'checked' in attributes);
}

/** What a person reads. */
export function textOf({ html }: Page): string {
  return parse(html).querySelector('body')!.structuredText;
}
