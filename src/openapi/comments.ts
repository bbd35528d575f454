import type { AnyDesc, DescFile } from '@bufbuild/protobuf';
import { getComments } from '@bufbuild/protoplugin';

/** The comment of an element of the contract, as Markdown. */
export function commentOf(desc: Exclude<AnyDesc, DescFile>): string {
  const { leading = '' } = getComments(desc);
  return leading
    .split('\n')
    .map((line) => line.trim())
    .join('\n')
    .trim();
}

/** Its first sentence. */
export function summaryOf(comment: string): string {
  const line = comment.split('\n')[0]!;
  const end = /[.:] (?=[A-Z`])|\.$/.exec(line);
  return end ? line.slice(0, end.index) : line;
}
