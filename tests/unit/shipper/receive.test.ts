/** The destination's file connections over real TLS on loopback; nothing is received. */
import { setTimeout as sleep } from "node:timers/promises";
import Docker from "dockerode";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLog } from "../../../services/shared/log.ts";
import { closeConnection, type Connection } from "../../../services/shared/link/connection.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import { Receive } from "../../../services/shipper/receive.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);
const log = createLog("test", "silent");

let listener: DataListener;
let isKnown: boolean;
let connections: Connection[];
let receive: Receive;

beforeEach(async () => {
  [isKnown, connections] = [true, []];
  const key = Buffer.from(secret, "hex");
  const transfer = { key, attach: (_role: string, connection: Connection) => void connections.push(connection) };
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => (isKnown ? transfer : undefined), log);
  receive = new Receive(
    { migrationId, secret, source: { host: "127.0.0.1", port: listener.port }, streams: 1, security: "tls" },
    { docker: new Docker({ socketPath: "/nonexistent" }), stateDir: temporaryDirectory("receive-"), log },
  );
});
afterEach(async () => {
  await receive.end();
  for (const connection of connections) closeConnection(connection);
  await listener.close();
});

test("a source that does not know the migration refuses the first connection", async () => {
  isKnown = false;
  await expect(receive.connect()).rejects.toMatchObject({ code: "unauthorized" });
});

test("a source whose agent is started anew may know the migration a little later than its port is open", async () => {
  await receive.connect();
  await expect.poll(() => connections.length).toBe(1);
  isKnown = false;
  for (const connection of connections.splice(0)) closeConnection(connection);
  await expect.poll(() => receive.report().connected).toBe(false);
  await sleep(500);
  isKnown = true;
  await expect.poll(() => receive.report().connected, { timeout: 5_000 }).toBe(true);
});
