/** With a tenth and a little more to spare: a node filled to the brim fails in worse places than here. */
export const withMargin = (needed: number, extra: number): number => Math.ceil(needed * 1.1) + extra;
