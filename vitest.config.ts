import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["tests/unit/**/*.test.ts"], testTimeout: 20_000 } },
      {
        test: {
          name: "lab",
          include: ["tests/lab/**/*.test.ts"],
          globalSetup: "tests/helpers/lab/global-setup.ts",
          // One pair of nodes serves all lab tests: a file at a time.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
