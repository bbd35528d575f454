import { RE2JS } from 're2js';

/** Whether it is a regular expression in RE2 syntax. */
export function isPattern(pattern: string): boolean {
  try {
    RE2JS.compile(pattern);
    return true;
  } catch {
    return false;
  }
}

/** Whether a pattern in RE2 syntax matches the whole text. In linear time, whatever pattern and text are. */
export function matchesWhole(pattern: string, text: string): boolean {
  return RE2JS.matches(pattern, text);
}
