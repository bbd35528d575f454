import { SecretText } from '../../base/secret-text.ts';
import type { JsonObject } from '../../model/json.ts';
import type { SecretSource } from './store-credential.ts';

/** A field of a document, and what is wrong with it or what was done with it. */
export type Remark = { field: string; message: string };

const SECRET_NAME = /^[a-zA-Z0-9_-]{1,100}$/;
const LARGEST_SECRET = 65_536;

/** Reads typed fields of a document, and collects what is wrong with them. */
export class LegacyDocument {
  readonly faults: Remark[] = [];
  readonly notes: Remark[] = [];
  readonly auth: JsonObject;
  readonly #document: JsonObject;
  readonly #secretRefs: JsonObject;
  readonly #secrets: JsonObject;

  constructor(document: JsonObject) {
    this.#document = document;
    this.auth = this.object('authConfig');
    this.#secretRefs = this.object('secretRefs');
    this.#secrets = this.object('secrets');
  }

  fault(field: string, message: string): void {
    this.faults.push({ field, message });
  }

  note(field: string, message: string): void {
    this.notes.push({ field, message });
  }

  /** By its name, or as the column of the database is called. */
  value(field: string): unknown {
    const column = field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return this.#document[field] ?? this.#document[column] ?? undefined;
  }

  text(field: string, form: RegExp, { required = false } = {}): string {
    const value = this.value(field) ?? '';
    if (value === '' && !required) return '';
    if (typeof value === 'string' && form.test(value)) return value;
    this.fault(field, value === '' ? 'is missing' : 'has no valid form');
    return '';
  }

  number(field: string, fallback: number, least: number, most: number): number {
    const value = this.value(field) ?? fallback;
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
    this.fault(field, `is no whole number from ${least} to ${most}`);
    return fallback;
  }

  flag(field: string, fallback: boolean): boolean {
    const value = this.value(field) ?? fallback;
    if (typeof value === 'boolean') return value;
    this.fault(field, 'is neither true nor false');
    return fallback;
  }

  object(field: string): JsonObject {
    const value = this.value(field) ?? {};
    if (typeof value === 'object' && !Array.isArray(value)) return value as JsonObject;
    this.fault(field, 'is no object');
    return {};
  }

  /** A secret that a field of `authConfig` refers to, or the one secret of the old shape: given in the document, else a stored one. */
  secret(name: string): SecretSource | null {
    const ref = this.auth[name] ?? this.value('secretId') ?? this.value('secretRef');
    const field = `authConfig.${name}`;
    if (typeof ref !== 'string' || ref === '') {
      this.fault(field, 'is missing: it names the secret');
      return null;
    }
    const stored = this.#referred(ref);
    if (Object.hasOwn(this.#secrets, stored)) return this.direct(`secrets.${stored}`, this.#secrets[stored]);
    if (SECRET_NAME.test(stored)) return { secretRef: stored };
    this.fault(field, 'refers to a name that is none of a secret: letters, digits, `_` and `-`, at most 100');
    return null;
  }

  /** A secret that is given itself. */
  direct(field: string, value: unknown): SecretSource | null {
    if (typeof value === 'string' && value !== '' && value.length <= LARGEST_SECRET)
      return { value: new SecretText(value) };
    this.fault(field, `is no text of 1 to ${LARGEST_SECRET} characters`);
    return null;
  }

  /** A part of `authConfig` that is no secret here, as a client id: reads answer it, so no stored secret is opened for it. */
  open(name: string, form: RegExp): string {
    const ref = this.auth[`${name}Ref`];
    const stored = typeof ref === 'string' ? this.#referred(ref) : '';
    const given = this.auth[name] ?? (Object.hasOwn(this.#secrets, stored) ? this.#secrets[stored] : null);
    if (typeof given === 'string' && form.test(given)) return given;
    const missing = `is no secret here: give it in authConfig, or the text of ${name}Ref in secrets`;
    this.fault(`authConfig.${name}`, given === null ? missing : 'has no valid form');
    return '';
  }

  #referred(ref: string): string {
    const name = Object.hasOwn(this.#secretRefs, ref) ? this.#secretRefs[ref] : ref;
    return typeof name === 'string' ? name : ref;
  }
}
