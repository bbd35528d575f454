import { readFileSync } from 'node:fs';
import type { JsonObject } from '@bufbuild/protobuf';
import { type LangflowFake, type LangflowVersion, startLangflow } from './langflow.ts';
import { TRANSPORTS, type TransportName } from './server.ts';

/** A Langflow to test against. */
export type LangflowTarget = {
  name: string;
  /** A flow that says back what it is told, and one whose component raises an error that quotes `sk-planted-secret`. */
  echo: NamedFlow;
  fails: NamedFlow;
  /** grpc-web, too, where there is time for it. */
  transports: readonly TransportName[];
  /** What answers, and how it is told. */
  start(): Promise<{ url: string; adminKey: string; fake: LangflowFake | null }>;
};

type NamedFlow = { name: string; data: JsonObject };

const VERSIONS: readonly LangflowVersion[] = ['1.0', '1.6', '1.7', '1.8', '1.11', '1.13'];

const EMPTY = { nodes: [], edges: [] };

function faked(version: LangflowVersion): LangflowTarget {
  return {
    name: `a fake Langflow ${version}`,
    transports: version === '1.13' ? TRANSPORTS : ['grpc', 'connect'],
    ...{ echo: { name: 'echo', data: EMPTY }, fails: { name: 'fails: ', data: EMPTY } },
    async start() {
      const fake = await startLangflow({ version });
      return { url: fake.url, adminKey: fake.adminKey, fake };
    },
  };
}

/** The one that LANGFLOW_TEST_URL and its like name (test/real/langflow.sh), else fakes of every version that differs. */
export function langflowTargets(): LangflowTarget[] {
  const { LANGFLOW_TEST_URL: url, LANGFLOW_TEST_ADMIN_KEY: adminKey, LANGFLOW_TEST_FLOWS: folder } = process.env;
  if (!url || !adminKey || !folder) return VERSIONS.map(faked);
  const flow = (name: string) => ({ name, data: JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8')) });
  const start = async () => ({ url, adminKey, fake: null });
  return [{ name: 'a real Langflow', echo: flow('echo'), fails: flow('fails'), transports: TRANSPORTS, start }];
}
