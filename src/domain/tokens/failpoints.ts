/** Steps of a refresh at which a test may end or freeze the process. */
export const FAILPOINTS = [
  'before_claim',
  'claimed',
  'before_send',
  'sent',
  'answered',
  'before_commit',
  'committed',
  'published',
] as const;
export type Failpoint = (typeof FAILPOINTS)[number];

/** Does what the setting says at a step, as `answered:kill` or `claimed:stop`. Nothing in production, where the setting is refused. */
export function failpoint(settings: readonly string[], step: Failpoint): void {
  for (const setting of settings) {
    const [name, action] = setting.split(':');
    if (name !== step) continue;
    process.kill(process.pid, action === 'stop' ? 'SIGSTOP' : 'SIGKILL');
  }
}
