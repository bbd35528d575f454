import fc from 'fast-check';
import { type Json, nastyValue } from './fuzz-values.ts';

/** One thing that is made wrong with a message of JSON: at the place whose number it is, counted from the root. */
type Bend = { at: number; how: 'replace' | 'remove' | 'add' | 'wrap' | 'snake'; value: Json };

/** A message with up to three things made wrong, half of the time none. */
export function bent(message: fc.Arbitrary<Json>): fc.Arbitrary<Json> {
  const bend: fc.Arbitrary<Bend> = fc.record({
    at: fc.nat(60),
    how: fc.constantFrom('replace', 'replace', 'remove', 'add', 'wrap', 'snake'),
    value: nastyValue,
  });
  const bends = fc.oneof(fc.constant([]), fc.array(bend, { minLength: 1, maxLength: 3 }));
  return fc.tuple(message, bends).map(([json, all]) => all.reduce(apply, json));
}

function apply(json: Json, { at, how, value }: Bend): Json {
  let counted = 0;
  const visit = (node: Json): Json => {
    if (typeof node !== 'object' || node === null) return node;
    if (Array.isArray(node)) return node.flatMap((item) => change(item, (changed) => changed));
    return Object.fromEntries(
      Object.entries(node).flatMap(([name, item]) =>
        change(item, (changed) => [name, changed] as [string, Json], name),
      ),
    );
  };
  const change = <T>(item: Json, place: (changed: Json) => T, name = ''): T[] => {
    if (counted++ !== at) return [place(visit(item))];
    switch (how) {
      case 'replace':
        return [place(value)];
      case 'remove':
        return [];
      case 'wrap':
        return [place([item])];
      case 'add':
        return [place(item), name ? (['added', value] as T) : place(value)];
      default:
        return name ? [[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), item] as T] : [place(item)];
    }
  };
  const changed = visit(json);
  return counted > at ? changed : how === 'replace' && at > 55 ? value : changed;
}

/** What is made wrong with bytes; mostly nothing. */
export type Spoil = { how: (typeof SPOILS)[number] | 'nothing'; where: number; junk: Uint8Array };

const SPOILS = ['cut', 'insert', 'double', 'overwrite', 'replace', 'flip', 'endless varint', 'nest'] as const;

export const spoil: fc.Arbitrary<Spoil> = fc.record({
  how: fc.oneof({ weight: 3, arbitrary: fc.constant('nothing' as const) }, fc.constantFrom(...SPOILS)),
  where: fc.nat(),
  junk: fc.uint8Array({ minLength: 1, maxLength: 40 }),
});

export function spoilt(bytes: Uint8Array, { how, where, junk }: Spoil): Uint8Array {
  const at = where % (bytes.length + 1);
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (how) {
    case 'cut':
      return head;
    case 'insert':
      return Buffer.concat([head, junk, tail]);
    case 'double':
      return Buffer.concat([bytes, bytes]);
    case 'overwrite':
      return Buffer.concat([head, junk, tail.subarray(junk.length)]);
    case 'replace':
      return junk;
    case 'flip':
      return bytes.map((byte, index) => (index === at ? byte ^ (1 << (junk[0]! % 8)) : byte));
    case 'endless varint':
      return Buffer.concat([head, Buffer.alloc(20, 0xff), tail]);
    case 'nest':
      // Of lists in JSON, of groups in protobuf.
      return Buffer.alloc(50_000, junk[0]! % 2 ? 0x5b : 0x0b);
    default:
      return bytes;
  }
}
