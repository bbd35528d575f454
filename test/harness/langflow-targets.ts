import { type LangflowFake, type LangflowVersion, startLangflow } from './langflow.ts';

/** A Langflow to test against. */
export type LangflowTarget = {
  name: string;
  /** Where runs of somebody else's flow are refused: since 1.7 (#10306). */
  guardsRuns: boolean;
  /** What answers, and how it is told. */
  start(): Promise<{ url: string; adminKey: string; fake: LangflowFake | null }>;
};

const VERSIONS: readonly LangflowVersion[] = ['1.0', '1.6', '1.7', '1.8', '1.11', '1.13'];

function faked(version: LangflowVersion): LangflowTarget {
  return {
    ...{ name: `a fake Langflow ${version}`, guardsRuns: version !== '1.0' && version !== '1.6' },
    async start() {
      const fake = await startLangflow({ version });
      return { url: fake.url, adminKey: fake.adminKey, fake };
    },
  };
}

/** The one that LANGFLOW_TEST_URL and LANGFLOW_TEST_ADMIN_KEY name (test/real/langflow.sh), else fakes of every version that differs. */
export function langflowTargets(): LangflowTarget[] {
  const { LANGFLOW_TEST_URL: url, LANGFLOW_TEST_ADMIN_KEY: adminKey } = process.env;
  if (!url || !adminKey) return VERSIONS.map(faked);
  return [{ name: 'a real Langflow', guardsRuns: true, start: async () => ({ url, adminKey, fake: null }) }];
}
