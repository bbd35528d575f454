type Cookie = { host: string; path: string; name: string; value: string };

/** Cookies as a browser keeps them (RFC 6265), as far as sign-in pages need it: by host and path, until it is closed. */
export class CookieJar {
  #cookies: Cookie[] = [];

  /** Takes what an answer sets, or deletes. */
  take(url: URL, answer: Headers): void {
    for (const line of answer.getSetCookie()) this.#set(url, line);
  }

  /** What a request to the URL carries along; empty: nothing. */
  header({ hostname, pathname }: URL): string {
    return this.#cookies
      .filter(({ host, path }) => host === hostname && covers(path, pathname))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }

  #set({ hostname: host, pathname }: URL, line: string): void {
    const [pair = '', ...rest] = line.split(';').map((part) => part.trim());
    const attributes = new Map(rest.map((part) => [part.split('=')[0]!.toLowerCase(), part.replace(/^[^=]*=?/, '')]));
    const name = pair.slice(0, pair.indexOf('='));
    const path = attributes.get('path') || pathname.replace(/\/[^/]*$/, '') || '/';
    this.#cookies = this.#cookies.filter((known) => known.host !== host || known.path !== path || known.name !== name);
    if (!isOver(attributes)) this.#cookies.push({ host, path, name, value: pair.slice(pair.indexOf('=') + 1) });
  }
}

function covers(path: string, pathname: string): boolean {
  return pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`);
}

function isOver(attributes: ReadonlyMap<string, string>): boolean {
  const [age, expires] = [attributes.get('max-age'), attributes.get('expires')];
  return age === undefined ? expires !== undefined && Date.parse(expires) <= Date.now() : Number(age) <= 0;
}
