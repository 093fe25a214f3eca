// A segmentation over the image: one color per class inside an outline, and the class under the pointer highlighted.

import { bytesOf } from "./colors.js";
import { byId } from "./dom.js";
import { paintRuns } from "./rle.js";

const LONGEST_SIDE = 1600;
export const OPACITY = 0.55;
/** Opacity of the areas that are not highlighted, as a share of the chosen one. */
const FADED = 0.25;
/** The outline's two lines, white and dark, are each one part in so many of the image's longer side. */
const OUTLINE = 420;
const DARKER = 0.45;

export class Mask {
  constructor() {
    this.canvas = byId("mask");
    this.opacity = OPACITY;
    byId("image").addEventListener("pointermove", (event) => this.#point(event));
    byId("image").addEventListener("pointerleave", () => this.onHighlight?.(null));
  }

  /** Draw `{width, height, segments}` in the colors of their classes; `onHighlight` gets the index under the pointer, or null. */
  show({ width, height, segments }, { colors, onHighlight }) {
    const step = Math.max(1, Math.ceil(Math.max(width, height) / LONGEST_SIDE));
    const size = { width: Math.ceil(width / step), height: Math.ceil(height / step) };
    this.ids = { ...size, data: new Uint8Array(size.width * size.height) };
    segments.forEach((segment, index) => paintRuns(segment.rle, index + 1, this.ids, step));
    this.lines = linesOf(this.ids);
    Object.assign(this.canvas, size);
    this.colors = segments.map(({ label }) => bytesOf(colors.of(label).fill));
    this.onHighlight = onHighlight;
    this.canvas.hidden = false;
    this.highlight(null);
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.highlight(this.highlighted);
  }

  highlight(index) {
    this.highlighted = index;
    if (!this.ids || this.canvas.hidden) return;
    const { width, height, data } = this.ids;
    const pixels = new ImageData(width, height);
    const words = new Uint32Array(pixels.data.buffer);
    const palettes = this.#palettes(index);
    for (let at = 0; at < data.length; at++) words[at] = palettes[this.lines[at]][data[at]];
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  /** The words of a pixel by its area, 0 for none: of the area itself, of its white line, and of its dark line. */
  #palettes(index) {
    const shown = (id) => (index === null || id === index + 1 ? 1 : FADED);
    const of = (alpha, color) => new Uint32Array([0, ...this.colors.map((own, at) => word(color(own), alpha * shown(at + 1)))]);
    return [of(this.opacity, (own) => own), of(0.95, () => [255, 255, 255]), of(0.95, (own) => own.map((byte) => byte * DARKER))];
  }

  setVisible(visible) {
    this.canvas.hidden = !visible;
  }

  hide() {
    this.canvas.hidden = true;
    this.onHighlight = null;
    this.ids = null;
  }

  #point(event) {
    if (!this.onHighlight || !this.ids) return;
    const frame = this.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - frame.left) / frame.width) * this.ids.width);
    const row = Math.floor(((event.clientY - frame.top) / frame.height) * this.ids.height);
    const id = this.ids.data[row * this.ids.width + column] ?? 0;
    this.onHighlight(id ? id - 1 : null);
  }
}

/** A pixel of a canvas as one number, in the byte order of all machines that have a browser. */
const word = ([red, green, blue], alpha) => ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/** For each pixel 1 on the outermost line of its area, 2 on the line inside that, else 0. */
function linesOf({ width, height, data }) {
  const lines = new Uint8Array(data.length);
  const thick = Math.max(1, Math.round(Math.max(width, height) / OUTLINE));
  for (const [line, distance] of [[2, 2 * thick], [1, thick]]) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const at = row * width + column;
        const id = data[at];
        if (!id) continue;
        const differs =
          (column >= distance && data[at - distance] !== id) ||
          (column + distance < width && data[at + distance] !== id) ||
          (row >= distance && data[at - distance * width] !== id) ||
          (row + distance < height && data[at + distance * width] !== id);
        if (differs) lines[at] = line;
      }
    }
  }
  return lines;
}
