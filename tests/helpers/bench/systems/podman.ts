/** (b) Podman: one archive, plain or with zstd, exported, copied and imported. */
import { listen } from "./copy.ts";
import { containerArguments } from "./docker.ts";
import { configureCriu, containerName, scratch, type System } from "./system.ts";

export function podman(name: string, compression: "none" | "zstd"): System {
  const archive = `${scratch}/checkpoint.tar`;
  return {
    name,
    // During the restore: the archive here and there, what is unpacked from it, and the processes.
    copies: 4,
    exec: `podman exec ${containerName}`,
    start: async ({ a }, program) => {
      await a.run(`podman run -d ${containerArguments(program)}`);
    },
    migrate: async (lab, _program, timeoutMs) => {
      const { a, b } = lab;
      await configureCriu(lab);
      const receiver = await listen(lab, `cat > ${archive}`, timeoutMs);
      const options = `--tcp-established --file-locks --compress ${compression} --export ${archive}`;
      await a.run(`podman container checkpoint ${options} ${containerName}`, { timeoutMs });
      await a.run(`${receiver.target} < ${archive}`, { timeoutMs });
      await receiver.done;
      await b.run(`podman container restore --file-locks --import ${archive}`, { timeoutMs });
      return undefined;
    },
  };
}
