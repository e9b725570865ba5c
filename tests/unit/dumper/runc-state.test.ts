import { describe, expect, it } from "vitest";
import { withCriuConfig } from "../../../services/dumper/core/runc-state.ts";

describe("runc's state with CRIU's settings", () => {
  it("adds the annotation, in place of one that is there", () => {
    const state = '{"id":"x","config":{"labels":["bundle=/b","org.criu.config=/old"]}}';
    expect(JSON.parse(withCriuConfig(state, "/new"))).toEqual({
      id: "x",
      config: { labels: ["bundle=/b", "org.criu.config=/new"] },
    });
  });

  it("keeps numbers that JavaScript cannot hold: an unlimited ulimit is 2^64-1", () => {
    const state = '{"config":{"rlimits":[{"type":8,"hard":18446744073709551615}],"labels":null}}';
    expect(withCriuConfig(state, "/c")).toContain('"hard":18446744073709551615}');
  });

  it.each(["{}", "[]", '{"config":1}'])("refuses %s", (text) => {
    expect(() => withCriuConfig(text, "/c")).toThrow("runc's state file");
  });
});
