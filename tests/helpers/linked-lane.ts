/** A page lane that is kept connected, and taken care of as a page daemon's thread does, on the event loop. */
import { PageDialer, type PageDialerOptions } from "../../services/pager/page-daemon/page-dialer.ts";
import { PageLane, type PageLaneOptions, type PageRequest } from "../../services/pager/page-daemon/page-lane.ts";
import { PollLoop, type Turning } from "./poll-loop.ts";

export type LinkedLaneOptions = Omit<PageDialerOptions, "onConnection" | "onFailure"> &
  Pick<PageLaneOptions, "onAnswer" | "onFailure"> &
  Partial<Pick<PageLaneOptions, "onRefused" | "onMap">>;

export interface LinkedLane {
  readonly bytesReceived: number;
  /** Throws as `dial` does. */
  connect: () => Promise<void>;
  request: (request: PageRequest) => void;
}

/** Aborting `signal` ends it. */
export function linkLane(options: LinkedLaneOptions): LinkedLane {
  const { signal, reconnectMs, onAnswer, onFailure, onRefused, onMap } = options;
  const lane = new PageLane({
    ...{ onAnswer, onFailure },
    onRefused: onRefused ?? (() => undefined),
    onMap: onMap ?? (() => undefined),
    onLost: (reason) => void dialer.lost(reason),
  });
  const loop = new PollLoop();
  // Before its connection is closed.
  signal.addEventListener("abort", () => {
    lane.end();
    loop.stop();
  });
  const dialer = new PageDialer({ ...options, onConnection: (connection) => lane.use(connection, reconnectMs) });
  const turning: Turning = {
    get fd() {
      return lane.fd;
    },
    isReading: true,
    get isWriting() {
      return lane.isWriting;
    },
    onReady: lane.onReady,
    onTurn: () => lane.askAgain(performance.now()),
  };
  loop.add(turning);
  return {
    get bytesReceived() {
      return lane.bytesReceived;
    },
    connect: () => dialer.connect(),
    request: (request) => lane.request(request),
  };
}
