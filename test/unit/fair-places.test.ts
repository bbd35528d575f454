import { describe, expect, it } from 'vitest';
import { FairPlaces } from '../../src/base/fair-places.ts';

function takeAll(places: FairPlaces, key: string) {
  const taken: { done(): void }[] = [];
  for (let place = places.take(key); place; place = places.take(key)) taken.push(place);
  return taken;
}

describe('Fair places', () => {
  it('go to one key but for a quarter, and to several but for what the next one needs', () => {
    const places = new FairPlaces(100);
    const first = takeAll(places, 'a');
    expect(first).toHaveLength(75);
    const counts = ['b', 'c', 'd', 'e'].map((key) => takeAll(places, key).length);
    for (const count of counts) expect(count).toBeGreaterThan(0);
    expect(places.free).toBe(0);
    // Those who hold many get no more until others have had their part.
    expect(places.take('a')).toBeNull();
    for (const place of first) place.done();
    expect(takeAll(places, 'f').length).toBeGreaterThan(10);
  });

  it('are there for everybody as long as one is left, however few there are', () => {
    const places = new FairPlaces(3);
    const keys = ['a', 'b', 'c'].map((key) => places.take(key));
    expect(keys.every((place) => place !== null)).toBe(true);
    expect(places.take('d')).toBeNull();
    keys[0]!.done();
    keys[0]!.done();
    expect(places.free).toBe(1);
    expect(places.take('b')).toBeNull();
    expect(places.take('d')).not.toBeNull();
    expect(new FairPlaces(1).take('a')).not.toBeNull();
  });
});
