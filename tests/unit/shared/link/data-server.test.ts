import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ConnectOptions } from "../../../../services/shared/link/connect.ts";
import { createDataServer } from "../../../../services/shared/link/data-server.ts";
import { connectPlain } from "../../../../services/shared/link/plain-psk.ts";
import { encodePreamble, preambleBytes } from "../../../../services/shared/link/preamble.ts";
import { connectPsk } from "../../../../services/shared/link/tls-psk.ts";

const identity = "m-0123456789abcdef";
const key = randomBytes(32);
/** How the server may be reached. */
let allowed: ("tls" | "plain")[];
let server: Server;
let letIn: string[];
let refused: Error[];
const sockets = new Set<Socket>();

beforeEach(async () => {
  allowed = ["tls", "plain"];
  [letIn, refused] = [[], []];
  server = createDataServer({
    keyOf: (name, security) => (name === identity && allowed.includes(security) ? key : undefined),
    onConnection: (socket, name) => {
      sockets.add(socket);
      letIn.push(name);
      socket.on("error", () => undefined).on("data", (bytes: Buffer) => socket.write(bytes));
    },
    onRefused: (error) => refused.push(error),
    maxHandshakes: 4,
  });
  await listen(server);
});

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server.close();
});

async function listen(on: Server): Promise<void> {
  on.listen(0, "127.0.0.1");
  await once(on, "listening");
}

const portOf = (of: Server): number => (of.address() as AddressInfo).port;

function options(change: Partial<ConnectOptions> = {}): ConnectOptions {
  const source = { host: "127.0.0.1", port: portOf(server) };
  return {
    source,
    identity,
    key,
    role: "files",
    signal: AbortSignal.timeout(4_000),
    onBytes: () => undefined,
    ...change,
  };
}

describe.each([
  ["TLS", "tls" as const, connectPsk],
  ["a plain connection", "plain" as const, connectPlain],
])("by %s", (_title, security, dial) => {
  test("who knows the secret gets in, and bytes go both ways", async () => {
    const got: Buffer[] = [];
    const { promise: whole, resolve } = Promise.withResolvers<undefined>();
    const sent = randomBytes(1_000_000);
    let bytes = 0;
    const socket = await dial(
      options({
        onBytes: (part) => {
          got.push(Buffer.from(part));
          bytes += part.length;
          if (bytes === sent.length) resolve(undefined);
        },
      }),
    );
    socket.write(sent);
    await whole;
    expect(Buffer.concat(got).equals(sent)).toBe(true);
    expect(letIn).toEqual([identity]);
    socket.destroy();
  });

  test("who does not, or names another transfer, is refused", async () => {
    await expect(dial(options({ key: randomBytes(32) }))).rejects.toMatchObject({ code: "unauthorized" });
    await expect(dial(options({ identity: "m-fedcba9876543210" }))).rejects.toMatchObject({ code: "unauthorized" });
    expect(letIn).toEqual([]);
  });

  test("nobody gets in to a transfer that does not allow it", async () => {
    allowed = security === "tls" ? ["plain"] : ["tls"];
    await expect(dial(options())).rejects.toMatchObject({ code: "unauthorized" });
    expect(letIn).toEqual([]);
  });

  test("a port where nobody listens is unavailable", async () => {
    const there = options();
    server.close();
    await expect(dial(there)).rejects.toMatchObject({ code: "unavailable" });
  });
});

test("a plain source that does not know the secret gets nothing", async () => {
  const said: Buffer[] = [];
  const impostor = createServer((socket) => {
    sockets.add(socket);
    socket
      .on("error", () => undefined)
      .on("data", (bytes: Buffer) => {
        said.push(bytes);
        socket.write(randomBytes(64));
      });
  });
  await listen(impostor);
  const source = { host: "127.0.0.1", port: portOf(impostor) };
  await expect(connectPlain(options({ source }))).rejects.toMatchObject({ code: "unauthorized" });
  // No code that the secret went into.
  expect(Buffer.concat(said).length).toBe(preambleBytes + 4 + 32 + 1 + identity.length);
  impostor.close();
});

test("what was recorded of a plain connection does not open another", async () => {
  const recorded: Buffer[] = [];
  const between = createServer((socket) => {
    sockets.add(socket);
    const onward = connect(portOf(server), "127.0.0.1");
    sockets.add(onward);
    socket
      .on("error", () => undefined)
      .on("data", (bytes: Buffer) => {
        recorded.push(bytes);
        onward.write(bytes);
      });
    onward.on("error", () => undefined).on("data", (bytes: Buffer) => socket.write(bytes));
  });
  await listen(between);
  const real = await connectPlain(options({ source: { host: "127.0.0.1", port: portOf(between) } }));
  await expect.poll(() => letIn.length).toBe(1);
  const again = connect(portOf(server), "127.0.0.1");
  again.on("error", () => undefined).resume();
  again.write(Buffer.concat(recorded));
  await once(again, "close");
  expect(letIn.length).toBe(1);
  expect(refused.at(-1)?.message).toContain("does not know the secret");
  real.destroy();
  between.close();
});

const plain = encodePreamble({ security: "plain", role: "pages" });

test.each([
  ["nonsense", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["a preamble of no known role", Buffer.from([...Buffer.from("DMGL"), 1, 9])],
  ["the preamble of a plain connection, then nonsense", Buffer.concat([plain, Buffer.alloc(100, 1)])],
  ["a name of no length", Buffer.concat([plain, Buffer.from("DMG1"), Buffer.alloc(33)])],
])("%s is refused", async (_title, bytes) => {
  const socket = connect(portOf(server), "127.0.0.1");
  socket.on("error", () => undefined).resume();
  socket.write(bytes);
  await once(socket, "close");
  expect(letIn).toEqual([]);
  expect(refused.length).toBe(1);
});

test("connections that say nothing are bounded in number", async () => {
  const silent = Array.from({ length: 6 }, () => connect(portOf(server), "127.0.0.1").on("error", () => undefined));
  for (const each of silent) sockets.add(each.resume());
  await expect.poll(() => silent.filter(({ destroyed }) => destroyed).length).toBe(2);
  for (const each of silent) each.destroy();
  await expect.poll(async () => (await connectPlain(options()).catch(() => undefined))?.destroy()).toBeDefined();
});
