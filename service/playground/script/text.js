// Numbers and results as readable text.

export const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 2 : 1)} %`;
/** Text in which no line ends between a number and its unit, or around a sign between two numbers. */
export const unbroken = (text) => text.replaceAll(" ", "\u00a0");
export const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

/** 385187552 → "385 M"; for multiply-accumulates and parameters. */
export function count(value) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return String(value);
}

export const plural = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** A name for files made from an image: "cat.jpg" → "cat". */
export const stem = (name) => name.replace(/\.[^.]*$/, "") || "image";

/** "optical_flow" → "Optical flow". */
export const title = (name) => name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

const MOST_NUMBERS = 16;
const LONGEST_STRING = 120;

/** JSON with two spaces of indent; lists of plain values take one line, long lists and strings are shortened. */
export function prettyJson(value, indent = "") {
  const inner = `${indent}  `;
  const block = (open, lines, close) => (lines.length ? `${open}\n${inner}${lines.join(`,\n${inner}`)}\n${indent}${close}` : open + close);
  if (typeof value === "string" && value.length > LONGEST_STRING) return JSON.stringify(`${value.slice(0, LONGEST_STRING)}…`);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (!Array.isArray(value)) {
    return block("{", Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${prettyJson(each, inner)}`), "}");
  }
  if (value.some((each) => typeof each === "object" && each !== null)) {
    return block("[", value.map((each) => prettyJson(each, inner)), "]");
  }
  const shown = value.slice(0, MOST_NUMBERS).map((each) => prettyJson(each));
  if (value.length > MOST_NUMBERS) shown.push(`… ${value.length} values`);
  return `[${shown.join(", ")}]`;
}
