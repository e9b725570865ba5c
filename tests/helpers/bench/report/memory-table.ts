/** The memory benchmark as a Markdown table. Pure. */
import { limitsIn, memoryRatios, valuesIn, type MemoryReport } from "../memory/result.ts";
import { summarise } from "../statistics.ts";
import { duration, table } from "./table.ts";

type Format = (value: number) => string;
const faster: Format = (value) => `${value.toFixed(2)}× as fast`;
const longer: Format = (value) => `${value.toFixed(2)}× as long`;
const short: Format = (ms) => `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;
const speed: Format = (bytesPerSecond) => `${(bytesPerSecond / 1e9).toFixed(2)} GB/s`;
const megabytes: Format = (mb) => `${mb.toFixed(0)} MB`;

/** What was not measured is a dash. */
export function memoryTable({ samples, megabytes: size }: MemoryReport): string {
  const ratios = memoryRatios(samples);
  const ratio = (name: string, format: Format): string => {
    const value = ratios[name];
    return value === undefined ? "–" : format(value);
  };
  const show = (values: readonly number[], format: Format): string => {
    if (values.length === 0) return "–";
    const { median, min, max } = summarise(values);
    return values.length === 1 ? format(median) : `${format(median)} (${format(min)}–${format(max)})`;
  };
  const of = (system: string, what: string, format: Format): string => show(valuesIn(samples, system, what), format);
  const ours = (what: string, format: Format): string => of("dmigrate", what, format);
  const criu = (what: string, format: Format): string => `CRIU ${of("criu-lazy", what, format)}`;
  return table(
    ["", "Dmigrate", "against", "result"],
    [
      [
        `drain of a Redis with ${size} MB, used meanwhile`,
        ours("drainMs", duration),
        criu("drainMs", duration),
        ratio("drainVsCriu", faster),
      ],
      [
        "its speed, against the slower of one TCP connection and one thread that fills pages",
        ours("drainBytesPerSecond", speed),
        `limit ${show(limitsIn(samples), speed)}`,
        ratio("drainVsLimit", (share) => `${(share * 100).toFixed(0)} % of it`),
      ],
      [
        "its client's p99 during the drain",
        ours("clientP99Ms", short),
        criu("clientP99Ms", short),
        ratio("clientP99VsCriu", longer),
      ],
      [
        "a fault, median, of a program that touches page after page",
        ours("faultP50Ms", short),
        criu("faultP50Ms", short),
        "–",
      ],
      ["a fault, p99", ours("faultP99Ms", short), criu("faultP99Ms", short), ratio("faultP99VsCriu", longer)],
      [
        "drain over 1 Gbit/s, a twentieth of the keys rewritten: `hybrid`",
        of("dmigrate-hybrid", "slowDrainMs", duration),
        `\`post-copy\` ${ours("slowDrainMs", duration)}`,
        ratio("hybridDrainVsPure", (value) => `${(value * 100).toFixed(0)} % of its time`),
      ],
      [
        "most memory of the services at the destination",
        ours("servicePeakMb", megabytes),
        `window ${ours("windowMb", megabytes)}`,
        ratio("pagerPeakOverWindowMb", (mb) => `at most ${mb.toFixed(0)} MB over`),
      ],
    ],
  );
}
