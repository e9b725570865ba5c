/** Says on what, and when, numbers were measured. Pure. */
import type { Machine } from "../machine.ts";

const names: readonly (readonly [key: string, name: string])[] = [
  ["docker", "Docker"],
  ["runc", "runc"],
  ["criu", "CRIU"],
  ["podman", "Podman"],
];

const describe = ({ cores, memoryGb, kernel, versions }: Machine): string =>
  [
    `one machine with ${cores} cores and ${memoryGb} GB, Linux ${kernel}`,
    ...names.flatMap(([key, name]) => (versions[key] ? [`${name} ${versions[key]}`] : [])),
  ].join(", ");

/** A sentence for each kind of machine: what it is, and the days of its sittings. One that is there twice counts once. */
export function describeSittings(sittings: readonly Machine[]): string {
  const kinds = [...Map.groupBy(new Map(sittings.map((sitting) => [sitting.at, sitting])).values(), describe)];
  return kinds
    .map(([kind, of]) => {
      const days = [...new Set(of.map(({ at }) => at.slice(0, 10)))].toSorted();
      const count = of.length === 1 ? "" : ` in ${of.length} sittings`;
      return `Measured${count} on ${days.join(", ")}: both nodes, the client and the planner on ${kind}.`;
    })
    .join(" ");
}
