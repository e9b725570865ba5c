import { describe, expect, it } from "vitest";
import { commonConfigShape, listenSchema, readConfig } from "../../../services/shared/config.ts";

const shape = { ...commonConfigShape, listen: listenSchema.default({ host: "127.0.0.1", port: 7400 }) };

describe("readConfig", () => {
  it("has a default for everything but the token", () => {
    expect(readConfig(shape, [], {})).toEqual({
      listen: { host: "127.0.0.1", port: 7400 },
      logLevel: "info",
      stateDir: "/run/dmigrate",
    });
  });

  it("takes the environment, and flags before it", () => {
    const env = { DMIGRATE_LISTEN: "127.0.0.1:1", DMIGRATE_STATE_DIR: "/a" };
    expect(readConfig(shape, ["--listen", "[::1]:2"], env)).toMatchObject({
      listen: { host: "::1", port: 2 },
      stateDir: "/a",
    });
  });

  it.each([
    [["--listen", "7400"], "--listen (DMIGRATE_LISTEN)"],
    [["--listen", "127.0.0.1:70000"], "--listen (DMIGRATE_LISTEN)"],
    [["--log-level", "loud"], "--log-level (DMIGRATE_LOG_LEVEL)"],
    [["--state-dir", "relative"], "--state-dir (DMIGRATE_STATE_DIR)"],
    [["--token", "short"], "--token (DMIGRATE_TOKEN)"],
  ])("names the setting at fault: %j", (argv, field) => {
    expect(() => readConfig(shape, argv, {})).toThrow(field);
  });

  it("refuses an unknown flag", () => {
    expect(() => readConfig(shape, ["--lisen", "x"], {})).toThrow("--lisen");
  });

  it("listens beyond loopback only with a token", () => {
    expect(() => readConfig(shape, ["--listen", "0.0.0.0:7400"], {})).toThrow("without a token");
    expect(readConfig(shape, ["--listen", "0.0.0.0:7400"], { DMIGRATE_TOKEN: "0123456789abcdef" }).listen.host).toBe(
      "0.0.0.0",
    );
  });
});
