import { expect, test } from "vitest";
import { refuseNetworks, type NetworkFacts } from "../../../services/restorer/core/refuse-networks.ts";
import type { NetworkAttachment } from "../../../services/shared/contracts/container.ts";
import { fakeProfile } from "../../helpers/fake-world.ts";

const attachment = { name: "back", driver: "bridge", aliases: [] };
const db = { name: "db", networks: ["back"] };
const refusals = (changes: Partial<NetworkAttachment>, facts: Partial<NetworkFacts> = {}) =>
  refuseNetworks(
    { ...fakeProfile().spec, networks: [{ ...attachment, ...changes }] },
    { networks: new Map([["back", "bridge"]]), containers: [], ...facts },
  );

test("a link is kept where the container that it names is on that network", () => {
  const links = ["db:store"];
  expect(refusals({ links }, { containers: [db] })).toEqual([]);
  expect(refusals({ links: ["db", "/db:/web/store"] }, { containers: [db] })).toEqual([]);
  for (const containers of [[], [{ ...db, name: "db2" }], [{ ...db, networks: ["front"] }]]) {
    const [refusal] = refusals({ links }, { containers });
    expect(refusal?.code).toBe("links");
    expect(refusal?.message).toMatch(/web is linked to db on network back \(--link db:store\).*move that one first/);
  }
});

test("each link that leads nowhere is named; on an overlay network the container may be on another node", () => {
  expect(refusals({ links: ["db:a", "cache:b", "queue:c"] }, { containers: [db] })).toHaveLength(2);
  expect(refusals({ driver: "overlay", links: ["db:a"] }, { networks: new Map([["back", "overlay"]]) })).toEqual([]);
});

test("of a network that is not here nothing else is said", () => {
  expect(refusals({ links: ["db:a"] }, { networks: new Map() }).map(({ code }) => code)).toEqual(["network"]);
});
