/**
 * JSON in which every number stays as it was written. runc and Docker write 64-bit numbers that JavaScript cannot hold: a
 * ulimit of -1 is 2^64-1, which rounded up no longer fits, and makes the file unreadable to them.
 */

/** ES2026's JSON.parse with source text access; TypeScript's library does not know it yet. */
interface SourceTextJson {
  parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
  rawJSON(text: string): unknown;
}
const sourceTextJson = JSON as unknown as SourceTextJson;

/** Parses text so that JSON.stringify writes the same numbers again. Throws SyntaxError. */
export function parseExactJson(text: string): unknown {
  return sourceTextJson.parse(text, (_key, value, { source }) =>
    typeof value === "number" && source !== undefined && String(value) !== source
      ? sourceTextJson.rawJSON(source)
      : value,
  );
}
