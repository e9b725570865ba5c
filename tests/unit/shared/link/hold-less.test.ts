/** What the kernel says of a connection's bound of data that has not left: TCP_NOTSENT_LOWAT, tcp(7). */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import koffi from "koffi";
import { expect, test } from "vitest";
import { descriptorOf } from "../../../../services/shared/adapters/socket-handover.ts";
import { socketOptions } from "../../../../services/shared/adapters/socket-options.ts";
import { holdLess, tune } from "../../../../services/shared/link/connect.ts";

const getsockopt = koffi.load(null).func("int getsockopt(int, int, int, void *, void *)");

function unsentBytesOf(fd: number): number {
  const { level, name } = socketOptions.tcpUnsentBytes;
  const [value, length] = [Buffer.alloc(4), Buffer.from([4, 0, 0, 0])];
  expect(getsockopt(fd, level, name, value, length)).toBe(0);
  return value.readInt32LE(0);
}

test("it is never more than it is otherwise", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket: Socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  try {
    await once(socket, "connect");
    const fd = descriptorOf(socket);
    if (fd === undefined) throw new Error("the socket has no descriptor");
    tune(socket);
    const usual = unsentBytesOf(fd);
    expect(usual).toBe(128 << 10);
    holdLess(fd, 16 << 10);
    expect(unsentBytesOf(fd)).toBe(16 << 10);
    holdLess(fd, 1 << 20);
    expect(unsentBytesOf(fd)).toBe(usual);
  } finally {
    socket.destroy();
    server.close();
  }
});
