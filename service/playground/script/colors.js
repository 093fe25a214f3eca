// One color per class, the same in the list, the boxes, the mask and the timeline, for as long as the model is chosen.

/** Okabe and Ito's colors (2008): distinct also for people with color vision deficiency. Black and white are left out. */
const PALETTE = ["#0072b2", "#e69f00", "#cc79a7", "#009e73", "#d55e00", "#56b4e9", "#f0e442"];

/** Classes get the colors in the order in which they are first seen; after the seventh, boxes with a used color are dashed. */
export class ClassColors {
  #places = new Map();

  /** Return `{fill, ink, dashed}`: the class's color, the color of text on it, and whether another class has it too. */
  of(label) {
    if (!this.#places.has(label)) this.#places.set(label, this.#places.size);
    const place = this.#places.get(label);
    const fill = PALETTE[place % PALETTE.length];
    return { fill, ink: inkOn(bytesOf(fill)), dashed: place >= PALETTE.length };
  }
}

/** "#0072b2" → [0, 114, 178]. */
export const bytesOf = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

/** Black or white, whichever has more contrast on the color (relative luminance of WCAG 2). */
function inkOn(bytes) {
  const [red, green, blue] = bytes.map((byte) => (byte <= 10 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}
