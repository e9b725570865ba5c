/** Where in a container something is mounted. Pure. */

/** As Docker tells it, however it was written: absolute, without `.`, `..`, or a slash at the end. */
export function cleanTarget(target: string): string {
  const names: string[] = [];
  for (const name of target.split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return `/${names.join("/")}`;
}

/** The target of a bind `source:target[:options]`. */
export const bindTarget = (bind: string): string => cleanTarget(bind.split(":")[1] ?? "");
