/**
 * runc takes CRIU's settings for one container from the annotation `org.criu.config`, which it reads from its state
 * file. /etc/criu/runc.conf would be shared by all containers of the node; a copy of the state file is our own.
 */
import { parseExactJson } from "../../shared/core/exact-json.ts";
import { DmigrateError } from "../../shared/errors.ts";

const annotation = "org.criu.config=";

/** runc's state file, as text, with CRIU's configuration file set to `criuConfig`. */
export function withCriuConfig(stateJson: string, criuConfig: string): string {
  const state = parseExactJson(stateJson);
  if (!isObject(state) || !isObject(state["config"])) {
    throw new DmigrateError("upstream", "runc's state file has no config; is this runc's own state.json?");
  }
  const { config } = state;
  const labels = Array.isArray(config["labels"]) ? (config["labels"] as unknown[]) : [];
  const others = labels.filter((label) => typeof label !== "string" || !label.startsWith(annotation));
  return JSON.stringify({ ...state, config: { ...config, labels: [...others, annotation + criuConfig] } });
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
