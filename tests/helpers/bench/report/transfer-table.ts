/** The transfer benchmark as a Markdown table. Pure. */
import { summarise } from "../statistics.ts";
import { transferRatios, type TransferReport, type TransferSamples } from "../transfer/result.ts";
import type { Section } from "./sections.ts";
import { describeSittings } from "./sittings.ts";
import { duration, table } from "./table.ts";

type Format = (value: number) => string;
const speed: Format = (value) => `${value.toFixed(2)}× as fast`;
const short: Format = (ms) => `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;

interface Row {
  readonly title: string;
  /** Where the samples are: part and name. */
  readonly ours: readonly [part: string, name: string];
  readonly theirs: readonly (readonly [title: string, part: string, name: string])[];
  readonly result: readonly [ratio: string, show: Format];
  readonly show: Format;
}

const tar = (part: string) => ["`tar \\| nc`", part, "tar"] as const;
const rsync = (part: string) => ["`rsync -aHAXS`", part, "rsync"] as const;

const rows: readonly Row[] = [
  {
    title: "2 GB in 4 files, against the faster",
    ours: ["bulk", "dmigrate"],
    theirs: [tar("bulk"), rsync("bulk")],
    result: ["bulkVsBest", speed],
    show: duration,
  },
  {
    title: "the same, TLS against plain TCP",
    ours: ["bulk", "dmigrate"],
    theirs: [["plain", "bulk", "plain"]],
    result: ["tlsVsPlain", speed],
    show: duration,
  },
  {
    title: "100 000 files of 4 KB",
    ours: ["small", "dmigrate"],
    theirs: [rsync("small")],
    result: ["smallFilesVsRsync", speed],
    show: duration,
  },
  {
    title: "text over 100 Mbit/s",
    ours: ["slow", "dmigrate"],
    theirs: [tar("slow")],
    result: ["slowLinkVsTar", speed],
    show: duration,
  },
  {
    title: "p99 of an urgent 4 KB round trip during the 2 GB",
    ours: ["urgent", "busy"],
    theirs: [["idle link", "urgent", "idle"]],
    result: ["urgentP99VsIdle", (value) => `${value.toFixed(1)}× as long`],
    show: short,
  },
  {
    title: "10 changed of 100 000 files, inside the freeze",
    ours: ["delta", "delta"],
    theirs: [],
    result: ["deltaMs", short],
    show: short,
  },
];

/** The README's part on files. */
export const transferSection = ({ machines, scale, samples }: TransferReport): Section => ({
  name: "bench:transfer",
  pictures: [],
  content: [
    `${describeSittings(Object.values(machines))} Medians, with the range in brackets.`,
    ...(scale === 1 ? [] : [`**Measured with ${scale} of the sizes in the table.**`]),
    transferTable(samples),
  ].join("\n\n"),
});

/** What was not measured is a dash. */
export function transferTable(samples: TransferSamples): string {
  const ratios = transferRatios(samples);
  const show = (format: Format, part: string, name: string): string => {
    const values = samples[part]?.[name] ?? [];
    if (values.length === 0) return "–";
    const { median, min, max } = summarise(values);
    return values.length === 1 ? format(median) : `${format(median)} (${format(min)}–${format(max)})`;
  };
  return table(
    ["", "Dmigrate", "against", "result"],
    rows.map((row) => {
      const [name, format] = row.result;
      const ratio = ratios[name];
      return [
        row.title,
        show(row.show, ...row.ours),
        row.theirs.map(([title, part, of]) => `${title} ${show(row.show, part, of)}`).join(", "),
        ratio === undefined ? "–" : format(ratio),
      ];
    }),
  );
}
