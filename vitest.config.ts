import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['unit', 'contract', 'rpc', 'flows'].map((folder) => `test/${folder}/**/*.test.ts`),
    globalSetup: ['test/harness/postgres-setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 3,
  },
});
