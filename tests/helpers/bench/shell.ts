/** A node as the benchmark drives it: a shell that answers within milliseconds (images/node-shell.ts), and writes down what it ran. */
import { pollUntil } from "../poll-until.ts";
import type { LabNode } from "../lab/lab.ts";

const port = 7499;

export interface RunOptions {
  /** After this long the command is killed and counts as failed. */
  readonly timeoutMs?: number;
  /** Leave it out of the transcript: housekeeping, or not the system's own. */
  readonly quiet?: boolean;
}

interface Answer {
  exitCode: number;
  timedOut: boolean;
  stdout: string;
  stderr: string;
}

export class Shell {
  readonly node: LabNode;
  readonly #url: string;
  #transcript: string[] = [];

  constructor(node: LabNode) {
    this.node = node;
    this.#url = `http://${node.ip}:${port}/`;
  }

  get ip(): string {
    return this.node.ip;
  }

  /** What goes to the transcript from now on; both nodes share one, so that it is in order. */
  record(transcript: string[]): void {
    this.#transcript = transcript;
  }

  /** Writes a line into the transcript. */
  note(line: string): void {
    this.#transcript.push(line);
  }

  /** Starts the shell's server in the node and waits until it answers. */
  async start(): Promise<void> {
    const container = this.node.outer.getContainer(this.node.containerId);
    const exec = await container.exec({ Cmd: ["node", "/opt/bench/node-shell.ts"] });
    await exec.start({ Detach: true });
    await pollUntil(`the shell of node ${this.node.name}`, 10_000, () =>
      this.run("true", { quiet: true }).then(
        () => true,
        () => undefined,
      ),
    );
  }

  /** Runs a command; returns its trimmed output. Throws when it fails, with the end of what it said. */
  async run(command: string, { timeoutMs = 120_000, quiet = false }: RunOptions = {}): Promise<string> {
    if (!quiet) this.#transcript.push(`${this.node.name}$ ${command}`);
    const response = await fetch(this.#url, {
      method: "POST",
      body: JSON.stringify({ command, timeoutMs }),
      signal: AbortSignal.timeout(timeoutMs + 5_000),
    });
    const { exitCode, timedOut, stdout, stderr } = (await response.json()) as Answer;
    if (exitCode === 0) return stdout.trim();
    const why = timedOut ? `killed after ${timeoutMs} ms` : `exit ${exitCode}`;
    throw new Error(`${this.node.name}$ ${command}: ${why}: ${(stderr || stdout).trim().slice(-600)}`);
  }
}

/** One word for a shell, whatever it holds. */
export const quote = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/** Words as one command line. */
export const line = (...words: readonly string[]): string => words.map(quote).join(" ");
