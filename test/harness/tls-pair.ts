import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { temporaryFolder } from './process.ts';

/** A key, and a certificate of it that nobody signed. */
export function tlsPair(host: string): { key: string; cert: string } {
  const folder = temporaryFolder();
  try {
    const args = [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-keyout', 'key.pem', '-out', 'cert.pem', '-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`],
    ];
    execFileSync('openssl', args, { cwd: folder.path, stdio: 'ignore' });
    const read = (name: string) => readFileSync(join(folder.path, name), 'utf8');
    return { key: read('key.pem'), cert: read('cert.pem') };
  } finally {
    folder.remove();
  }
}

/** Does something while this process trusts a certificate. */
export async function trusting<T>(cert: string, work: () => Promise<T>): Promise<T> {
  const authorities = getCACertificates('default');
  setDefaultCACertificates([...authorities, cert]);
  try {
    return await work();
  } finally {
    setDefaultCACertificates(authorities);
  }
}
