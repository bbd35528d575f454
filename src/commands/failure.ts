import { LatchkeyError, StartError } from '../base/error.ts';

/** A command that was called wrongly, where that is found out late: it ends with 2. */
export class UsageError extends StartError {}

/** What went wrong, for people: an error that is meant for them as it is, anything else with its stack. */
export function failureText(error: unknown): string {
  if (error instanceof StartError) return error.message;
  if (error instanceof LatchkeyError && error.cause === undefined) return latchkeyText(error);
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function latchkeyText({ reason, message, metadata, fields }: LatchkeyError): string {
  const named = Object.entries(metadata).map(([name, value]) => `${name} ${value}`);
  const faults = fields.map(({ field, description }) => `\n  ${field} ${description}`);
  return `${reason}: ${[message, ...named].join(', ')}${faults.join('')}`;
}
