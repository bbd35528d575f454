/** What became of a call: `aborted` is the caller's doing or our shutdown, `protocol` a request or an answer that is not HTTP as we speak it. */
export type EgressFailure = 'timeout' | 'aborted' | 'connect' | 'reset' | 'too_large' | 'protocol';

const TEXTS: Record<EgressFailure, string> = {
  timeout: 'did not answer in time',
  aborted: 'the call was aborted',
  connect: 'could not be connected to',
  reset: 'closed the connection',
  too_large: 'answered too much',
  protocol: 'the request or its answer is not as HTTP wants it',
};

/** An outbound call that got no usable answer. Says nothing of path, query, headers and bodies, and has no cause, which could. */
export class EgressError extends Error {
  override readonly name = 'EgressError';
  readonly kind: EgressFailure;
  /** False only where it is certain that no byte of the request left. */
  readonly sent: boolean;

  /**
   * @param host of the URL
   * @param detail a code such as ECONNREFUSED, or a constant text
   */
  constructor(kind: EgressFailure, { host, sent, detail }: { host: string; sent: boolean; detail?: string }) {
    super(`${host}: ${TEXTS[kind]}${detail ? ` (${detail})` : ''}`);
    this.kind = kind;
    this.sent = sent;
  }
}
