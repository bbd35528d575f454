/** A page that a browser came to. */
export type Page = { url: string; status: number; headers: Headers; text: string };

/** A browser of a test: follows redirects and keeps cookies, by host and port. */
export class Browser {
  readonly #cookies = new Map<string, Map<string, string>>();

  /** Goes to a URL and on until no redirect follows, or until `stopAt` is where it would go next. */
  async goto(url: string, { stopAt }: { stopAt?: string } = {}): Promise<Page> {
    let next = url;
    for (let hops = 0; hops < 20; hops++) {
      if (stopAt && next.startsWith(stopAt)) return { url: next, status: 0, headers: new Headers(), text: '' };
      const response = await this.request(next);
      const location = response.headers.get('location');
      if (!location) {
        return { url: next, status: response.status, headers: response.headers, text: await response.text() };
      }
      await response.body?.cancel();
      next = new URL(location, next).href;
    }
    throw new Error(`redirected for ever, at last to ${next}`);
  }

  /** One request, with the cookies of its host. */
  async request(url: string): Promise<Response> {
    const jar = this.#jar(url);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { redirect: 'manual', headers: cookie ? { cookie } : {} });
    for (const line of response.headers.getSetCookie()) {
      const [pair = ''] = line.split(';');
      const at = pair.indexOf('=');
      const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
      if (value === '' || /expires=Thu, 01 Jan 1970/i.test(line)) jar.delete(name);
      else jar.set(name, value);
    }
    return response;
  }

  #jar(url: string): Map<string, string> {
    const { host } = new URL(url);
    const jar = this.#cookies.get(host) ?? new Map<string, string>();
    this.#cookies.set(host, jar);
    return jar;
  }
}
