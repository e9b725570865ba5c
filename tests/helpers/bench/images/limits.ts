/**
 * What this machine can do at best, for the benchmark of memory: one number on stdout, bytes per second.
 *
 *   limits.ts sink PORT           takes bytes from one connection, then ends
 *   limits.ts send HOST PORT      how fast Node sends to a sink
 *   limits.ts uffd                how fast one thread fills missing pages with UFFDIO_COPY
 *
 * Stands alone, since it is copied into the node's image, next to the packages it takes koffi from.
 */
import { connect, createServer } from "node:net";
import koffi from "koffi";

const sendBytes = 1 << 30;
const [what, ...args] = process.argv.slice(2);

if (what === "sink") {
  const server = createServer((socket) => {
    socket.resume().once("close", () => server.close());
  }).listen(Number(args[0]));
} else if (what === "send") {
  const socket = connect({ host: args[0] ?? "", port: Number(args[1]), noDelay: true });
  const chunk = Buffer.alloc(1 << 18, 1);
  socket.once("connect", () => {
    const began = performance.now();
    let left = sendBytes;
    const more = (): void => {
      while (left > 0) {
        left -= chunk.length;
        if (!socket.write(chunk)) {
          socket.once("drain", more);
          return;
        }
      }
      // The sink closes when it has all of it.
      socket.end();
    };
    socket.resume().once("close", () => console.log((sendBytes * 1000) / (performance.now() - began)));
    more();
  });
} else if (what === "uffd") {
  console.log(copyRate());
} else throw new Error("sink, send or uffd");

/** Copies 1 MiB at a time into fresh anonymous memory, as a page server with large answers would. */
function copyRate(): number {
  const libc = koffi.load("libc.so.6");
  const syscall = libc.func("long syscall(long number, long flags)");
  const mmap = libc.func("uint64_t mmap(uint64_t at, size_t length, int prot, int flags, int fd, long offset)");
  const ioctl = libc.func("int ioctl(int fd, unsigned long request, void *argument)");
  const [length, step] = [512 << 20, 1 << 20];
  const [userfaultfd, readWrite, privateAnonymous] = [323, 3, 0x22];
  const [uffdioApi, uffdioRegister, uffdioCopy] = [0xc018aa3f, 0xc020aa00, 0xc028aa03];
  const fd = Number(syscall(process.arch === "arm64" ? 282 : userfaultfd, 0));
  if (fd < 0) throw new Error("userfaultfd is not allowed here");
  const call = (name: string, request: number, words: readonly bigint[]): void => {
    if (ioctl(fd, request, BigUint64Array.from(words)) !== 0) throw new Error(`${name} failed`);
  };
  call("UFFDIO_API", uffdioApi, [0xaan, 0n, 0n]);
  const target = BigInt(mmap(0, length, readWrite, privateAnonymous, -1, 0) as number | bigint);
  const source = BigInt(mmap(0, step, readWrite, privateAnonymous, -1, 0) as number | bigint);
  call("UFFDIO_REGISTER", uffdioRegister, [target, BigInt(length), 1n, 0n]);
  const began = performance.now();
  for (let at = 0; at < length; at += step)
    call("UFFDIO_COPY", uffdioCopy, [target + BigInt(at), source, BigInt(step), 0n, 0n]);
  return (length * 1000) / (performance.now() - began);
}
