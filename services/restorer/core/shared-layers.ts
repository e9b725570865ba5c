/** How much of an image a node has already: layers lie upon each other, so only a beginning can be shared. */

/** How many of the first `layers` (diff ids) some image of `present` begins with. */
export function sharedLayers(layers: readonly string[], present: readonly (readonly string[])[]): number {
  const shared = (other: readonly string[]): number => {
    const at = layers.findIndex((layer, index) => layer !== other[index]);
    return at < 0 ? layers.length : at;
  };
  return Math.max(0, ...present.map(shared));
}
