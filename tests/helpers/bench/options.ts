/** Chooses from a list by the names in an option, `a,b,c`; all of it when there is no option. Throws on a name that is not there. */
export function choose<T>(option: string, all: readonly T[], nameOf: (item: T) => string, names?: string): T[] {
  if (names === undefined) return [...all];
  return names.split(",").map((name) => {
    const item = all.find((each) => nameOf(each) === name);
    if (item === undefined) throw new Error(`${option}: no ${name}; there are ${all.map(nameOf).join(", ")}`);
    return item;
  });
}
