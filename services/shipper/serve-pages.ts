/** Answers page requests of one connection out of the frozen memory, by priority. */
import { FrameError, frameTypes, type Frame } from "../shared/core/frames/frame.ts";
import {
  decodePageRequest,
  encodePageError,
  maxDataBytesOf,
  pageErrorFlags,
  type EncodedPages,
  type PageRequest,
} from "../shared/core/frames/page-message.ts";
import { messageOf } from "../shared/errors.ts";
import type { FramedLink, FrameHandler } from "../shared/link/framed.ts";
import { Sender, type Outgoing } from "./sender.ts";

/** Several frames ahead keep the link busy. Faults do not wait behind them: they have a connection of their own. */
const windowBytes = 1024 * 1024;

/** Requests that may wait before no more are read from the connection. */
const maxWaiting = 8_192;

export interface PageStats {
  pagesSent: number;
  zeroPages: number;
  /** Headers included. */
  bytesSent: number;
}

/** An answer; `release` is called once its memory may be used again. */
export interface Answer extends EncodedPages {
  release: () => void;
}

/** The frozen memory. */
export interface PageReader {
  /** Throws when not even the first page can be read. */
  read: (request: PageRequest) => Answer;
}

/** `memory` is asked anew for each request: it may be opened after the connection was. */
export function servePages(link: FramedLink, memory: () => PageReader | undefined, stats: PageStats): FrameHandler {
  const sender = new Sender(link, windowBytes);

  const counted = (outgoing: Outgoing): Outgoing => {
    stats.bytesSent += outgoing.frame.length;
    return outgoing;
  };
  const answer = (channel: number, { frame, flags, pages, zeroPages, release }: Answer): Outgoing => {
    stats.pagesSent += pages;
    stats.zeroPages += zeroPages;
    return counted({ type: frameTypes.pages, channel, flags, frame, release });
  };
  const refuse = (channel: number, error: unknown, flags = 0): Outgoing =>
    counted({ type: frameTypes.pageError, channel, flags, frame: encodePageError(messageOf(error)) });
  const read = (channel: number, request: PageRequest): Outgoing => {
    try {
      const from = memory();
      if (from === undefined) return refuse(channel, "the container's memory is not open yet", pageErrorFlags.notYet);
      return answer(channel, from.read(request));
    } catch (error) {
      return refuse(channel, error);
    }
  };

  return ({ type, channel, payload }: Frame) => {
    if (type !== frameTypes.pageRequest) throw new FrameError(`a frame of type ${type} on the page connection`);
    const request = decodePageRequest(payload);
    sender.enqueue(request.priority, maxDataBytesOf(request.pages), () => read(channel, request));
    if (sender.length > maxWaiting) return sender.shorterThan(maxWaiting);
    return undefined;
  };
}
