import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  { ignores: ["node_modules", "coverage", ".lab"] },
  {
    files: ["**/*.ts"],
    extends: [js.configs.recommended, tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "no-restricted-exports": ["error", { restrictDefaultExports: { direct: true } }],
    },
  },
  {
    // core/ is values in, values out: whatever reads the world is passed in.
    files: ["services/**/core/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        { patterns: [{ regex: "^node:(?!buffer|util$)", message: "core/ has no I/O" }] },
      ],
      "no-restricted-properties": [
        "error",
        { object: "Date", property: "now", message: "pass the time in" },
        { object: "Math", property: "random", message: "pass randomness in" },
        { object: "process", property: "env", message: "pass configuration in" },
      ],
      "no-restricted-globals": ["error", "setTimeout", "setInterval", "fetch"],
    },
  },
  {
    // Services meet in services/shared/contracts only; the agent and the CLI are where they are put together.
    files: ["services/{planner,dumper,pager,shipper,restorer}/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            {
              regex: "\\.\\./(planner|dumper|pager|shipper|restorer|agent|cli)/",
              message: "a service imports no other service",
            },
          ],
        },
      ],
    },
  },
  { files: ["*.config.ts"], rules: { "no-restricted-exports": "off" } },
);
