/** Memory for system calls that are made often, by address. */
import koffi from "koffi";

export interface FixedMemory {
  buffer: Buffer;
  address: number;
}

/** V8 may move what a smaller buffer holds. */
const leastBytes = 256;
/** Whoever uses the address alone would lose the memory. */
const kept: Buffer[] = [];

/**
 * Zeroed memory of at least so many bytes that stays where it is for good, for modules: a new buffer for each call would
 * cost more than most calls, and to ask for a buffer's address each time as much as the shortest ones.
 */
export function fixedMemory(bytes: number): FixedMemory {
  const buffer = Buffer.alloc(Math.max(bytes, leastBytes));
  kept.push(buffer);
  return { buffer, address: addressOf(buffer) };
}

/** Of a buffer's first byte; good as long as the buffer is referenced. */
export const addressOf = (buffer: Buffer): number => Number(koffi.address(buffer));
