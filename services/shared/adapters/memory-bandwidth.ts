/** How fast this node's memory is: what a migration reads, encrypts, sends and fills in is copied at each of these steps. */

/** Beyond what a core's own caches hold. */
const bytes = 16 << 20;
/** The best counts: the others met somebody else on the processor. The first one has the kernel find memory for it, too. */
const passes = 4;

/** Bytes that one thread copies in a second. Takes some tens of milliseconds, in which this thread does nothing else. */
export function measureMemoryBandwidth(): number {
  const [from, to] = [Buffer.alloc(bytes, 1), Buffer.allocUnsafeSlow(bytes)];
  let bestMs = Infinity;
  for (let pass = 0; pass < passes; pass++) {
    const began = performance.now();
    from.copy(to);
    bestMs = Math.min(bestMs, performance.now() - began);
  }
  return Math.round((bytes * 1000) / bestMs);
}
