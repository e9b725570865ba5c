/**
 * Takes TCP connections out of repair mode. CRIU puts established ones into it while it reads their state; when CRIU is
 * killed in that moment they stay there, deaf and mute. Only through the owner's descriptors can they be reached:
 * pidfd_getfd(2) gives us duplicates.
 */
import { readdirSync, readlinkSync } from "node:fs";
import koffi from "koffi";
import { duplicateFrom, openProcess } from "../../shared/adapters/pidfd.ts";
import { hasErrno } from "../../shared/errors.ts";

const libc = koffi.load(null);
const getsockopt = libc.func("int getsockopt(int fd, int level, int name, _Inout_ int *value, _Inout_ uint *length)");
const setsockopt = libc.func("int setsockopt(int fd, int level, int name, const int *value, uint length)");
const close = libc.func("int close(int fd)");

const solSocket = 1;
const soReuseAddr = 2;
const ipprotoTcp = 6;
const tcpRepair = 19;

/** Returns how many connections were in repair mode. Processes that are gone are passed over. */
export function endTcpRepair(hostPids: readonly number[]): number {
  return hostPids.reduce((sum, pid) => sum + endTcpRepairOf(pid), 0);
}

function endTcpRepairOf(pid: number): number {
  const sockets = socketDescriptors(pid);
  if (sockets.length === 0) return 0;
  const pidfd = unlessGone(() => openProcess(pid));
  if (pidfd === undefined) return 0;
  try {
    return sockets.filter((fd) => repaired(pidfd, fd)).length;
  } finally {
    close(pidfd);
  }
}

function repaired(pidfd: number, descriptor: number): boolean {
  const fd = unlessGone(() => duplicateFrom(pidfd, descriptor));
  if (fd === undefined) return false;
  try {
    const value = [0];
    // Anything but a TCP socket refuses the option.
    if (getsockopt(fd, ipprotoTcp, tcpRepair, value, [4]) !== 0 || value[0] !== 1) return false;
    const done = setsockopt(fd, ipprotoTcp, tcpRepair, [0], 4) === 0;
    // Leaving repair mode clears SO_REUSEADDR, without which the program could not listen on the port again.
    setsockopt(fd, solSocket, soReuseAddr, [1], 4);
    return done;
  } finally {
    close(fd);
  }
}

/** The process, or its descriptor. */
function unlessGone<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}

function socketDescriptors(pid: number): number[] {
  const dir = `/proc/${pid}/fd`;
  try {
    return readdirSync(dir)
      .filter((fd) => {
        try {
          return readlinkSync(`${dir}/${fd}`).startsWith("socket:");
        } catch {
          return false; // closed meanwhile
        }
      })
      .map(Number);
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ESRCH")) return [];
    throw error;
  }
}
