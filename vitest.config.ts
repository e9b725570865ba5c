import { defineConfig } from "vitest/config";

/** What is waited for comes in milliseconds; a machine that has more to do than it can is no failure. */
const expectation = { poll: { timeout: 5_000 } };

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["tests/unit/**/*.test.ts"], testTimeout: 20_000, expect: expectation } },
      {
        test: {
          name: "lab",
          include: ["tests/lab/**/*.test.ts"],
          globalSetup: "tests/helpers/lab/global-setup.ts",
          // One pair of nodes serves all lab tests: a file at a time.
          fileParallelism: false,
          testTimeout: 120_000,
          expect: expectation,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
