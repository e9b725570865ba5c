import type Docker from "dockerode";
import { expect, test } from "vitest";
import { dockerInfo } from "../../../services/shared/adapters/docker.ts";

/** A Docker that counts how often it was asked, and answers when told. */
function countingDocker() {
  const asked: PromiseWithResolvers<{ ServerVersion: string }>[] = [];
  const info = (): Promise<{ ServerVersion: string }> => {
    const answer = Promise.withResolvers<{ ServerVersion: string }>();
    asked.push(answer);
    return answer.promise;
  };
  return { asked, docker: { info } as unknown as Docker };
}

test("who asks while Docker is being asked gets the same answer, and who asks later a new one", async () => {
  const { asked, docker } = countingDocker();
  const both = [dockerInfo(docker), dockerInfo(docker)];
  asked[0]?.resolve({ ServerVersion: "26" });
  expect((await Promise.all(both)).map(({ ServerVersion }) => ServerVersion)).toEqual(["26", "26"]);
  expect(asked).toHaveLength(1);
  const later = dockerInfo(docker);
  asked[1]?.resolve({ ServerVersion: "27" });
  expect((await later).ServerVersion).toBe("27");
});

test("an answer may be old for those who say so", async () => {
  const { asked, docker } = countingDocker();
  const first = dockerInfo(docker);
  asked[0]?.resolve({ ServerVersion: "26" });
  await first;
  expect((await dockerInfo(docker, 60_000)).ServerVersion).toBe("26");
  expect(asked).toHaveLength(1);
});

test("a failure is not kept", async () => {
  const { asked, docker } = countingDocker();
  const first = dockerInfo(docker, 60_000);
  asked[0]?.reject(new Error("not now"));
  await expect(first).rejects.toThrow("not now");
  const second = dockerInfo(docker, 60_000);
  asked[1]?.resolve({ ServerVersion: "26" });
  expect((await second).ServerVersion).toBe("26");
});
