/** The little of SVG that the pictures need. Pure. Colours are readable on a light and on a dark page. */

export const colours = { ours: "#1f7a4d", theirs: "#8a94a6", text: "#6b7280", line: "#d0d5dd", accent: "#c2410c" };

export const escapeText = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

type Attributes = Readonly<Record<string, string | number>>;

/** An element; children are markup, text is to be escaped by whoever passes it. */
export function element(name: string, attributes: Attributes, children = ""): string {
  const list = Object.entries(attributes).map(
    ([key, value]) => ` ${key}="${typeof value === "number" ? round(value) : escapeText(value)}"`,
  );
  return children === "" ? `<${name}${list.join("")}/>` : `<${name}${list.join("")}>${children}</${name}>`;
}

export function label(x: number, y: number, text: string, attributes: Attributes = {}): string {
  return element("text", { x, y, fill: colours.text, ...attributes }, escapeText(text));
}

export function picture(width: number, height: number, title: string, parts: readonly string[]): string {
  const head = element("title", {}, escapeText(title));
  const attributes = {
    xmlns: "http://www.w3.org/2000/svg",
    viewBox: `0 0 ${round(width)} ${round(height)}`,
    "font-family": "system-ui, sans-serif",
    "font-size": 12,
    role: "img",
  };
  return `${element("svg", attributes, [head, ...parts].join("\n"))}\n`;
}

const round = (value: number): number => Number(value.toFixed(2));
