import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Endpoint } from "../../../../services/shared/contracts/common.ts";
import { frameOf, frameTypes } from "../../../../services/shared/core/frames/frame.ts";
import type { ConnectOptions } from "../../../../services/shared/link/connect.ts";
import { closeConnection, type Connection } from "../../../../services/shared/link/connection.ts";
import { createDataServer, type DataServer } from "../../../../services/shared/link/data-server.ts";
import { openConnection, type FramedLink } from "../../../../services/shared/link/framed.ts";
import { connectPlain } from "../../../../services/shared/link/plain-psk.ts";
import {
  encodePreamble,
  preambleBytes,
  protocolVersion,
  roles,
  type Role,
} from "../../../../services/shared/link/preamble.ts";
import { connectPsk } from "../../../../services/shared/link/tls-psk.ts";
import { changing, joining, openRelay, type Relay, type RelayOptions } from "../../../helpers/relay.ts";
import { openDescriptors } from "../../../helpers/socket-pair.ts";

const identity = "m-0123456789abcdef";
const key = randomBytes(32);
/** How the server may be reached. */
let allowed: ("tls" | "plain")[];
let source: DataServer;
let letIn: { name: string; role: Role }[];
let refused: Error[];
/** What is done with a connection that was let in. */
let serve: (connection: Connection) => void;
/** Why those that were served are gone. */
let lost: (Error | undefined)[];
const sockets = new Set<Socket>();
const links = new Set<FramedLink>();
const relays = new Set<Relay>();

/** Sends back what comes. */
function echo(connection: Connection): void {
  const link = openConnection(connection, {
    onFrame: ({ channel, flags, payload }) =>
      link.write(frameTypes.jobData, channel, frameOf(payload), { flags: flags + 1 }),
  });
  links.add(link);
  void link.closed.then((reason) => lost.push(reason));
}

beforeEach(async () => {
  allowed = ["tls", "plain"];
  [letIn, lost] = [[], []];
  // Not what a server of the test before has still to say.
  const mine: Error[] = [];
  refused = mine;
  serve = echo;
  source = createDataServer({
    keyOf: (name, security) => (name === identity && allowed.includes(security) ? key : undefined),
    onConnection: (connection, name, role) => {
      letIn.push({ name, role });
      serve(connection);
    },
    onRefused: (error) => mine.push(error),
    maxHandshakes: 4,
  });
  await listen(source.server);
});

afterEach(() => {
  for (const link of links) link.close(new Error("the test is over"));
  for (const socket of sockets) socket.destroy();
  for (const relay of relays) relay.close();
  for (const each of [links, sockets, relays]) each.clear();
  source.dropHandshakes();
  source.server.close();
});

async function listen(on: Server): Promise<void> {
  on.listen(0, "127.0.0.1");
  await once(on, "listening");
}

const portOf = (of: Server): number => (of.address() as AddressInfo).port;
const here = (): Endpoint => ({ host: "127.0.0.1", port: portOf(source.server) });

function options(change: Partial<ConnectOptions> = {}): ConnectOptions {
  return { source: here(), identity, key, role: "files", signal: AbortSignal.timeout(4_000), ...change };
}

async function relay(change: Omit<RelayOptions, "to">): Promise<Endpoint> {
  const opened = await openRelay({ to: portOf(source.server), ...change });
  relays.add(opened);
  return opened.endpoint;
}

interface Talk {
  link: FramedLink;
  got: { channel: number; flags: number; payload: Buffer }[];
}

function talk(connection: Connection): Talk {
  const got: Talk["got"] = [];
  const link = openConnection(connection, {
    onFrame: ({ channel, flags, payload }) => void got.push({ channel, flags, payload }),
  });
  links.add(link);
  return { link, got };
}

describe.each([
  ["TLS", "tls" as const, connectPsk, "encrypt"],
  ["a plain connection", "plain" as const, connectPlain, "authenticate"],
])("by %s", (_title, security, dial, protection) => {
  test.each(roles)("who knows the secret gets in for %s, and records go both ways", async (role) => {
    const { link, got } = talk(await dial(options({ role })));
    const sent = Array.from({ length: 20 }, (_each, at) => randomBytes(at * 10_000));
    for (const [channel, payload] of sent.entries()) link.write(frameTypes.jobData, channel, frameOf(payload));
    await expect.poll(() => got.length).toBe(sent.length);
    expect(got.map(({ channel, flags }) => ({ channel, flags }))).toEqual(
      sent.map((_each, channel) => ({ channel, flags: 1 })),
    );
    expect(Buffer.concat(got.map(({ payload }) => payload)).equals(Buffer.concat(sent))).toBe(true);
    expect(letIn).toEqual([{ name: identity, role }]);
    const [theirs] = links;
    expect(link.bytesReceived).toBe(theirs?.bytesSent);
    expect(link.bytesSent).toBe(theirs?.bytesReceived);
  });

  test("the records' keys are new each time, and the other end's turned round", async () => {
    const taken: Connection[] = [];
    serve = (connection) => void taken.push(connection);
    const mine = [await dial(options()), await dial(options())];
    await expect.poll(() => taken.length).toBe(2);
    for (const [at, { keys }] of mine.entries()) {
      const theirs = taken[at]?.keys;
      expect(Buffer.from(keys.send)).toEqual(Buffer.from(theirs?.receive ?? [1]));
      expect(Buffer.from(keys.receive)).toEqual(Buffer.from(theirs?.send ?? [1]));
      expect([keys.protection, theirs?.protection]).toEqual(Array(2).fill(protection));
    }
    const all = mine.flatMap(({ keys }) => [keys.send, keys.receive]).map((each) => Buffer.from(each));
    expect(new Set(all.map((each) => each.toString("hex"))).size).toBe(4);
    for (const connection of [...mine, ...taken]) closeConnection(connection);
  });

  test("what the source sends at once is not lost, though it comes in one piece with the handshake's end", async () => {
    serve = (connection) => {
      const { link } = talk(connection);
      for (let channel = 0; channel < 10; channel++)
        link.write(frameTypes.jobData, channel, frameOf(Buffer.from(`hello ${channel}`)));
    };
    for (const at of [here(), await relay({ back: joining(30) })]) {
      const { got } = talk(await dial(options({ source: at })));
      await expect.poll(() => got.length).toBe(10);
      expect(got.map(({ payload }) => payload.toString())).toEqual(got.map((_each, channel) => `hello ${channel}`));
    }
  });

  test("what the destination sends at once is not lost either", async () => {
    const { link, got } = talk(await dial(options({ source: await relay({ there: joining(30) }) })));
    for (let channel = 0; channel < 10; channel++) link.write(frameTypes.jobData, channel, frameOf(randomBytes(10)));
    await expect.poll(() => got.length).toBe(10);
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
    source.server.close();
    await expect(dial(there)).rejects.toMatchObject({ code: "unavailable" });
  });

  test("a connection that its owner cannot take is closed, and told of", async () => {
    serve = () => {
      throw new Error("the transfer is gone");
    };
    const { link } = talk(await dial(options()));
    expect(await link.closed).toBeInstanceOf(Error);
    expect(refused).toEqual([new Error("the transfer is gone")]);
  });

  test("a preamble of another version is refused, and the destination told apart from one that is not there", async () => {
    const at = await relay({ there: changing(4, 1) });
    await expect(dial(options({ source: at }))).rejects.toMatchObject({ code: "unauthorized" });
    expect(letIn).toEqual([]);
    const versions = `speaks version ${protocolVersion ^ 1} of the data protocol, this side ${protocolVersion}`;
    expect(refused[0]?.message).toContain(versions);
  });

  test("a preamble that was changed to the other security lets nobody in", async () => {
    const at = await relay({ there: changing(5, 3) });
    await expect(dial(options({ source: at }))).rejects.toMatchObject({ code: "unauthorized" });
    expect(letIn).toEqual([]);
  });

  test("no descriptor is left, whether connections were used, refused, given up or dropped", async () => {
    const before = openDescriptors();
    const rounds = Array.from({ length: 6 }, (_each, at) => at);
    for (const at of rounds) {
      const { link, got } = talk(await dial(options()));
      link.write(frameTypes.jobData, at, frameOf(Buffer.from("x")));
      await expect.poll(() => got.length).toBe(1);
      link.close();
      await dial(options({ key: randomBytes(32) })).catch(() => undefined);
      await dial(options({ identity: "m-fedcba9876543210" })).catch(() => undefined);
    }
    for (const at of rounds) {
      const abort = new AbortController();
      const dialling = dial(options({ signal: abort.signal }));
      setTimeout(() => abort.abort(), at);
      await dialling.then(closeConnection, (error: unknown) => expect(error).toMatchObject({ code: "cancelled" }));
    }
    for (const at of rounds) {
      const dialling = dial(options());
      setTimeout(() => source.dropHandshakes(), at);
      await dialling.then(closeConnection, () => undefined);
    }
    serve = () => {
      throw new Error("the transfer is gone");
    };
    for (const _each of rounds) await dial(options()).then(closeConnection, () => undefined);
    await expect.poll(openDescriptors, { timeout: 5_000 }).toBeLessThanOrEqual(before);
  });
});

test("a role that was changed on the way makes other keys: no record opens, at either end", async () => {
  const at = await relay({ there: changing(6, 1 ^ 2) });
  const { link, got } = talk(await connectPsk(options({ source: at, role: "files" })));
  await expect.poll(() => letIn).toEqual([{ name: identity, role: "pages" }]);
  link.write(frameTypes.jobData, 1, frameOf(Buffer.from("for files")));
  await expect.poll(() => lost.map(String)).toEqual(["FrameError: a record was changed on its way"]);
  expect(await link.closed).toBeInstanceOf(Error);
  expect(got).toEqual([]);
});

test("the source's first record does not open then either", async () => {
  serve = (connection) => talk(connection).link.write(frameTypes.jobData, 1, frameOf(Buffer.from("for pages")));
  const at = await relay({ there: changing(6, 1 ^ 2) });
  const { link, got } = talk(await connectPsk(options({ source: at, role: "files" })));
  expect(String(await link.closed)).toBe("FrameError: a record was changed on its way");
  expect(got).toEqual([]);
});

test("without encryption nobody gets in by a role that was changed on the way", async () => {
  const at = await relay({ there: changing(6, 1 ^ 2) });
  await expect(connectPlain(options({ source: at, role: "files" }))).rejects.toMatchObject({ code: "unauthorized" });
  expect(letIn).toEqual([]);
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
  const there = { host: "127.0.0.1", port: portOf(impostor) };
  await expect(connectPlain(options({ source: there }))).rejects.toMatchObject({ code: "unauthorized" });
  // No code that the secret went into.
  expect(Buffer.concat(said).length).toBe(preambleBytes + 32 + 1 + identity.length);
  impostor.close();
});

test("what was recorded of a plain connection does not open another", async () => {
  const recorded: Buffer[] = [];
  const recording: RelayOptions["there"] = () => (bytes, goOn) => {
    recorded.push(bytes);
    goOn(bytes);
  };
  const { link } = talk(await connectPlain(options({ source: await relay({ there: recording }) })));
  await expect.poll(() => letIn.length).toBe(1);
  const again = connect(portOf(source.server), "127.0.0.1");
  again.on("error", () => undefined).resume();
  again.write(Buffer.concat(recorded));
  await once(again, "close");
  expect(letIn.length).toBe(1);
  expect(refused.at(-1)?.message).toContain("does not know the secret");
  link.close();
});

const plain = encodePreamble({ security: "plain", role: "pages" });
const tls = encodePreamble({ security: "tls", role: "pages" });

test.each([
  ["nonsense", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["a preamble of no known role", Buffer.from([...Buffer.from("DMGL"), protocolVersion, 1, roles.length + 1])],
  ["a preamble of no known security", Buffer.from([...Buffer.from("DMGL"), protocolVersion, 3, 1])],
  ["the preamble of a plain connection, then nonsense", Buffer.concat([plain, Buffer.alloc(100, 1)])],
  ["the preamble of a TLS connection, then nonsense", Buffer.concat([tls, Buffer.alloc(100, 1)])],
  ["a name of no length", Buffer.concat([plain, Buffer.alloc(33)])],
])("%s is refused", async (_title, bytes) => {
  const socket = connect(portOf(source.server), "127.0.0.1");
  socket.on("error", () => undefined).resume();
  socket.write(bytes);
  await once(socket, "close");
  expect(letIn).toEqual([]);
  expect(refused.length).toBe(1);
});

test("connections that say nothing are bounded in number", async () => {
  const silent = Array.from({ length: 6 }, () =>
    connect(portOf(source.server), "127.0.0.1").on("error", () => undefined),
  );
  for (const each of silent) sockets.add(each.resume());
  await expect.poll(() => silent.filter(({ destroyed }) => destroyed).length).toBe(2);
  for (const each of silent) each.destroy();
  await expect
    .poll(async () => {
      const connection = await connectPlain(options()).catch(() => undefined);
      if (connection !== undefined) closeConnection(connection);
      return connection;
    })
    .toBeDefined();
});

test.each([1, 3, preambleBytes - 1, preambleBytes + 1, preambleBytes + 32])(
  "who says %i bytes and no more holds up nobody",
  async (count) => {
    const socket = connect(portOf(source.server), "127.0.0.1").on("error", () => undefined);
    sockets.add(socket);
    socket.write(Buffer.concat([plain, randomBytes(32)]).subarray(0, count));
    await sleep(30);
    for (const dial of [connectPsk, connectPlain]) closeConnection(await dial(options()));
    await expect.poll(() => letIn.length).toBe(2);
  },
);

test.each([
  ["is not", Buffer.alloc(0), "the peer closed the connection"],
  ["is another one", Buffer.from([2]), "the destination speaks another protocol"],
])("whose last byte of the handshake %s is not let in", async (_what, byte, message) => {
  // All else comes in larger pieces.
  const at = await relay({ there: () => (bytes, goOn) => goOn(bytes.length === 1 ? byte : bytes) });
  const connection = await connectPsk(options({ source: at }));
  await sleep(50);
  closeConnection(connection);
  await expect.poll(() => refused).toEqual([new Error(message)]);
  expect(letIn).toEqual([]);
});

test("connections that were let in do not count among those", async () => {
  const talks = [];
  for (let at = 0; at < 10; at++) talks.push(talk(await connectPsk(options())));
  await expect.poll(() => letIn.length).toBe(10);
  for (const { link } of talks) expect(link.open).toBe(true);
});

test("handshakes that are under way end when they are dropped, in whatever state they are", async () => {
  const starts = [Buffer.alloc(0), tls, plain, Buffer.concat([plain, randomBytes(32)])];
  const closed = starts.map(async (bytes) => {
    const socket = connect(portOf(source.server), "127.0.0.1")
      .on("error", () => undefined)
      .resume();
    sockets.add(socket);
    socket.write(bytes);
    await once(socket, "close");
  });
  await sleep(100);
  source.dropHandshakes();
  await Promise.all(closed);
  expect(letIn).toEqual([]);
});
