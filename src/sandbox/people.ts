/** Someone who has a pretended account at the sandbox. */
export type Person = { id: string; name: string; email: string };

/** Who one can be there. */
export const PEOPLE: readonly Person[] = [
  { id: 'ada', name: 'Ada Lovelace', email: 'ada@example.com' },
  { id: 'alan', name: 'Alan Turing', email: 'alan@example.com' },
  { id: 'grace', name: 'Grace Hopper', email: 'grace@example.com' },
];

export function personOf(id: string): Person | undefined {
  return PEOPLE.find((person) => person.id === id);
}
