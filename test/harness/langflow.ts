import { LangflowFake, type LangflowOptions } from './langflow/fake.ts';

export type { Hit, LangflowFake, LangflowOptions } from './langflow/fake.ts';
export type { LangflowVersion, Switches } from './langflow/profiles.ts';
export type { Held, Script } from './langflow/scripts.ts';
export type { ApiKey, Flow, Run, User } from './langflow/world.ts';

export async function startLangflow(options: LangflowOptions): Promise<LangflowFake> {
  const langflow = new LangflowFake(options);
  await langflow.listen(options.port ?? 0);
  return langflow;
}
