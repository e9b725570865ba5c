/** Decodes /proc/net/{tcp,tcp6,udp,udp6}: which ports somebody listens on. Pure. */
import type { PortUse } from "./refuse.ts";

/** Socket states of a listener: TCP_LISTEN; and TCP_CLOSE, which is what the kernel calls a bound UDP socket. */
const listenState = { tcp: "0A", udp: "07" };

export function listeningPorts(table: string, protocol: "tcp" | "udp"): PortUse[] {
  return table.split("\n").flatMap((line) => {
    const fields = /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) /.exec(line);
    if (fields?.[3] !== listenState[protocol]) return [];
    return [{ ip: address(fields[1] ?? ""), port: parseInt(fields[2] ?? "", 16), protocol }];
  });
}

/** IPv4 dotted; an IPv6 address only as far as it matters: empty when it is the wildcard. */
function address(hex: string): string {
  if (/^0+$/.test(hex)) return "";
  if (hex.length !== 8) return hex.toLowerCase();
  return (hex.match(/../g) ?? [])
    .reverse()
    .map((byte) => parseInt(byte, 16))
    .join(".");
}
