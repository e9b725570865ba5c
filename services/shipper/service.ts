/** The shipper as a service: on the source the only sender, on the destination the receiver of files. */
import { join } from "node:path";
import type Docker from "dockerode";
import { openRecordFiles } from "../shared/adapters/record-files.ts";
import type { ListenAddress } from "../shared/config.ts";
import type { Service } from "../shared/http.ts";
import type { Log } from "../shared/log.ts";
import { listenForData } from "./adapters/data-listener.ts";
import { mendLogs } from "./adapters/log-passes.ts";
import { checkShipper } from "./checks.ts";
import { transferRecordSchema } from "./core/transfer-record.ts";
import { PageThreads } from "./page-threads.ts";
import { Receives } from "./receives.ts";
import { registerReceiveRoutes, registerTransferRoutes } from "./routes.ts";
import { Transfers } from "./transfers.ts";

export interface ShipperServiceDeps {
  docker: Docker;
  stateDir: string;
  log: Log;
  /** Where destinations connect to for the data. */
  dataListen: ListenAddress;
}

/** Resolves once the data port listens. Throws `unavailable` when its address is taken. */
export async function createShipper({ docker, stateDir, log, dataListen }: ShipperServiceDeps): Promise<Service> {
  // Nobody can connect before a transfer was made, and that takes the port's number.
  const state: { transfers?: Transfers } = {};
  const pageThreads = new PageThreads(log);
  const listener = await listenForData(dataListen, (id) => state.transfers?.find(id), log).catch(
    async (error: unknown) => {
      await pageThreads.stop();
      throw error;
    },
  );
  const records = openRecordFiles(join(stateDir, "transfers"), transferRecordSchema, log);
  const transfers = new Transfers({ docker, stateDir, dataPort: listener.port, pageThreads, records });
  state.transfers = transfers;
  await transfers.recover(log);
  await mendLogs(stateDir, log);
  const receives = new Receives({ docker, stateDir, log });
  return {
    name: "shipper",
    register: (app) => {
      registerTransferRoutes(app, transfers);
      registerReceiveRoutes(app, receives);
    },
    checks: () => checkShipper(docker),
    stop: async () => {
      transfers.stop();
      await receives.stop();
      await listener.close();
      await pageThreads.stop();
    },
  };
}
