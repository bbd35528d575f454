import { readFileSync } from 'node:fs';
import { StartError } from '../base/error.ts';
import { readClientConfig } from '../config.ts';
import { callerOf } from './client.ts';
import { Progress, print, printJson } from './output.ts';

type Row = {
  index?: number;
  name?: string;
  action: string;
  remarks?: { field: string; message: string }[];
  connectionId?: string;
};
type Report = { rows: Row[]; createdCount?: number };
type Options = { dryRun?: boolean; skipTaken?: boolean; project?: string; json?: boolean };

const MOST_DOCUMENTS = 1_000;
const IMPORT_MS = 60_000;
const MARKS: Record<string, string> = { CREATED: '+', WOULD_CREATE: '+', SKIPPED: '-', FAILED: '!' };

/** Imports a file of connections of VaultLogic's Integrations Hub, and prints what became of each. Exit code 1: something is wrong, and nothing was written. */
export async function importFile(path: string, { dryRun = false, skipTaken = false, project = '', json }: Options) {
  const documents = readDocuments(path);
  const { url, key } = readClientConfig();
  const progress = new Progress();
  progress.step(`${documents.length} connections are on their way`);
  const importing = callerOf(
    url,
    key,
    IMPORT_MS,
  )<Report>('ConnectionService/ImportConnections', {
    ...{ documents, dryRun, projectId: project },
    onConflict: skipTaken ? 'IMPORT_CONFLICT_SKIP' : 'IMPORT_CONFLICT_FAIL',
  });
  const report = await importing.finally(() => progress.clear());
  if (json) printJson(report);
  else print(readable(report, dryRun));
  if (report.rows.some((row) => actionOf(row) === 'FAILED')) process.exitCode = 1;
}

/** A list of documents, or an object with lists of them as `connections` and `externalConnections`. */
function readDocuments(path: string): unknown[] {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    // What a parser says shows the text around it, and there may be secrets in it.
    throw new StartError(error instanceof SyntaxError ? `${path} is not JSON.` : `${path} cannot be read.`);
  }
  const lists = content as { connections?: unknown; externalConnections?: unknown } | null;
  const documents = Array.isArray(content) ? content : [lists?.externalConnections, lists?.connections].flat();
  const objects = documents.filter((document) => document !== undefined);
  if (objects.length === 0 || !objects.every((document) => typeof document === 'object' && document !== null))
    throw new StartError(
      `${path} holds no list of connections.\n  It is a list, or has lists as \`connections\` and \`externalConnections\`.`,
    );
  if (objects.length > MOST_DOCUMENTS)
    throw new StartError(`${path} holds ${objects.length} connections; ${MOST_DOCUMENTS} are imported at a time.`);
  return objects;
}

function readable({ rows, createdCount = 0 }: Report, dryRun: boolean): string {
  const lines = rows.flatMap((row) => {
    const action = actionOf(row);
    const line =
      `${MARKS[action] ?? '?'} ${(row.index ?? 0) + 1}  ${row.name || '(no name)'}  ${action} ${row.connectionId ?? ''}`.trimEnd();
    return [line, ...(row.remarks ?? []).map(({ field, message }) => `       ${field}: ${message}`)];
  });
  const failed = rows.filter((row) => actionOf(row) === 'FAILED').length;
  const outcome =
    failed > 0
      ? `Nothing was written: ${failed} of ${rows.length} are wrong.`
      : `${createdCount} of ${rows.length} were made.`;
  const tried = `Nothing was written: this was a dry run. ${rows.length - failed} of ${rows.length} are good.`;
  return [...lines, '', dryRun ? tried : outcome].join('\n');
}

function actionOf({ action }: Row): string {
  return action.replace('IMPORT_ACTION_', '');
}
