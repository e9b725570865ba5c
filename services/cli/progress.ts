/** A migration's progress on stderr: one line that changes on a terminal, else a line per stage that has ended. */
import type { MigrationEvent } from "../shared/contracts/planner.ts";
import type { Output } from "./io.ts";
import { formatBytes } from "./table.ts";

export interface Progress {
  show(event: MigrationEvent): void;
  /** Leaves the line as it is; what follows begins a new one. */
  end(): void;
}

export function createProgress(output: Output): Progress {
  return output.isTTY === true ? oneLine(output) : lines(output);
}

function lines(output: Output): Progress {
  return {
    show: ({ type, message }) => {
      if (type === "stage") output.write(`${message}\n`);
      else if (type === "warning") output.write(`warning: ${message}\n`);
    },
    end: () => undefined,
  };
}

function oneLine(output: Output): Progress {
  let shown = false;
  const replace = (text: string): void => {
    const width = output.columns ?? 80;
    output.write(`\r\x1b[2K${text.length < width ? text : `${text.slice(0, width - 2)}…`}`);
    shown = true;
  };
  const end = (): void => {
    if (shown) output.write("\n");
    shown = false;
  };
  return {
    show: ({ type, phase, message, migration }) => {
      if (type === "warning") {
        replace(`warning: ${message}`);
        end();
        return;
      }
      const stages = migration.stages.map(({ name, ms }) => `${name} ${ms.toFixed(0)} ms`).join(", ");
      const doing = type === "progress" ? `: ${message}, ${formatBytes(migration.bytesSent)} sent` : "";
      replace(`${phase}${doing}${stages === "" ? "" : `  [${stages}]`}`);
    },
    end,
  };
}
