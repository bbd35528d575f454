import { CookieJar } from './cookie-jar.ts';

/** Where a browser came to. */
export type Page = { url: URL; status: number; headers: Headers; html: string };

const MAX_REDIRECTS = 20;
const REQUEST_MS = 15_000;

/** As much of a browser as it takes to sign in: it keeps cookies, follows redirects, sends forms. It runs no scripts. */
export class Browser {
  readonly #cookies = new CookieJar();
  /** Every address that it went to. */
  readonly visited: URL[] = [];

  open(url: string | URL): Promise<Page> {
    return this.#go(new URL(url), 'GET', null);
  }

  submit(url: string | URL, form: URLSearchParams): Promise<Page> {
    return this.#go(new URL(url), 'POST', form);
  }

  async #go(start: URL, startMethod: string, form: URLSearchParams | null): Promise<Page> {
    let [url, method, body] = [start, startMethod, form];
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      this.visited.push(url);
      const answer = await fetch(url, {
        ...{ method, body, redirect: 'manual', signal: AbortSignal.timeout(REQUEST_MS) },
        headers: { cookie: this.#cookies.header(url), accept: 'text/html' },
      });
      this.#cookies.take(url, answer.headers);
      const location = answer.headers.get('location');
      if (!location) return { url, status: answer.status, headers: answer.headers, html: await answer.text() };
      await answer.body?.cancel();
      [url, method, body] = [new URL(location, url), 'GET', null];
    }
    throw new Error(`More than ${MAX_REDIRECTS} redirects, from ${start.origin}`);
  }
}
