/** What the shipper depends on. */
import type Docker from "dockerode";
import type { Check } from "../shared/contracts/common.ts";
import { messageOf } from "../shared/errors.ts";
import { askDocker } from "./adapters/ask-docker.ts";
import { canOpenBeneath } from "../shared/adapters/linux.ts";

export async function checkShipper(docker: Docker): Promise<Check[]> {
  return [checkRoot(), checkKernel(), await checkStorage(docker)];
}

function checkRoot(): Check {
  const ok = process.geteuid?.() === 0;
  const detail = ok ? "runs as root" : "does not run as root";
  return { name: "root", ok, detail, ...(!ok && { fix: "run it as root: it reads and writes the containers' files" }) };
}

function checkKernel(): Check {
  const ok = canOpenBeneath();
  const detail = ok ? "openat2 works" : "the kernel has no openat2";
  return { name: "openat2", ok, detail, ...(!ok && { fix: "use Linux 5.6 or newer" }) };
}

async function checkStorage(docker: Docker): Promise<Check> {
  const name = "storage driver";
  try {
    const info = (await askDocker("docker info", docker.info(), 2_000)) as { Driver?: string };
    const ok = ["overlay2", "overlayfs"].includes(info.Driver ?? "");
    return {
      name,
      ok,
      detail: `Docker keeps layers by ${info.Driver ?? "an unknown driver"}`,
      ...(!ok && { fix: 'set "storage-driver": "overlay2" in daemon.json' }),
    };
  } catch (error) {
    return { name, ok: false, detail: `Docker does not answer: ${messageOf(error)}`, fix: "start Docker on this node" };
  }
}
