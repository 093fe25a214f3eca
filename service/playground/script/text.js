// Numbers as people read them.

export const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 2 : 1)} %`;
export const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

/** 385187552 → "385 M"; multiply-accumulates and parameters. */
export function count(value) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return String(value);
}

export const plural = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** A name for files made from an image: "cat.jpg" → "cat". */
export const stem = (name) => name.replace(/\.[^.]*$/, "") || "image";
