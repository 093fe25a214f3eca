// A segmentation over the image: one color per class, adjustable opacity, and the class under the pointer highlighted.

import { byId } from "./dom.js";
import { paintRuns } from "./rle.js";

const LONGEST_SIDE = 1600;
const GOLDEN_ANGLE = 137.508;
const FADED = 60;

/** A single class has the accent color; several classes have hues that are far apart. */
export function segmentColor(index, classes) {
  return classes === 1 ? "oklch(0.55 0.22 267)" : `oklch(0.68 0.19 ${(267 + index * GOLDEN_ANGLE) % 360})`;
}

export class Mask {
  constructor() {
    this.canvas = byId("mask");
    this.opacity = 0.55;
    byId("image").addEventListener("pointermove", (event) => this.#point(event));
    byId("image").addEventListener("pointerleave", () => this.onHighlight?.(null));
  }

  /** Draw `{width, height, segments}`; `onHighlight` gets the index of the segment under the pointer, or null. */
  show({ width, height, segments }, onHighlight) {
    const step = Math.max(1, Math.ceil(Math.max(width, height) / LONGEST_SIDE));
    const size = { width: Math.ceil(width / step), height: Math.ceil(height / step) };
    this.ids = { ...size, data: new Uint8Array(size.width * size.height) };
    segments.forEach((segment, index) => paintRuns(segment.rle, index + 1, this.ids, step));
    Object.assign(this.canvas, size);
    this.colors = segments.map((_, index) => bytesOf(segmentColor(index, segments.length)));
    this.onHighlight = onHighlight;
    this.canvas.hidden = false;
    this.setOpacity(this.opacity);
    this.highlight(null);
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.canvas.style.opacity = opacity;
  }

  highlight(index) {
    if (!this.ids || this.canvas.hidden) return;
    const { width, height, data } = this.ids;
    const context = this.canvas.getContext("2d");
    const pixels = new ImageData(width, height);
    const words = new Uint32Array(pixels.data.buffer);
    const palette = new Uint32Array(
      [[0, 0, 0], ...this.colors].map(([red, green, blue], id) => {
        const alpha = id === 0 ? 0 : index === null || id === index + 1 ? 255 : FADED;
        return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
      }),
    );
    for (let at = 0; at < data.length; at++) words[at] = palette[data[at]];
    context.putImageData(pixels, 0, 0);
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

/** A CSS color → [red, green, blue] in 0–255. */
function bytesOf(color) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data.slice(0, 3);
}
