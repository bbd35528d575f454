import { networkInterfaces } from 'node:os';
import { everyFace, Ranges } from './address.ts';

const local = new Ranges();
for (const range of ['127.0.0.0/8', '0.0.0.0', '::1', '::']) local.add(range);

/** Our own listeners, which no outbound call may reach: a call to ourselves would come from inside. */
export class OwnPorts {
  readonly #ports = new Set<number>();

  add(ports: readonly number[]): void {
    for (const port of ports) this.#ports.add(port);
  }

  /** Whether one of our listeners, on any address of this machine, is there. */
  includes(address: string, port: number): boolean {
    // Interfaces come and go, so they are read anew; that only happens for the few calls that name one of our ports.
    return this.#ports.has(port) && !isElsewhere(address);
  }
}

function isElsewhere(address: string): boolean {
  const ours = new Ranges();
  for (const found of Object.values(networkInterfaces()).flat()) if (found) ours.add(found.address);
  return everyFace(address, (face, family) => !local.has(face, family) && !ours.has(face, family));
}
