// A grid of numbers as a heat map over the image: interpolated, colored, and drawn at the place of its box.

import { byId } from "./dom.js";

const LONGEST_SIDE = 400;
const STOPS = 32;
/** The image stays visible where the heat is low. */
const COLD_ALPHA = 70;
const HOT_ALPHA = 215;

let colors = null;

/** 256 colors from cold to hot: lightness rises evenly, hue goes from violet over red to yellow. */
export function heatColors() {
  if (colors) return colors;
  const context = new OffscreenCanvas(256, 1).getContext("2d");
  const ramp = context.createLinearGradient(0, 0, 256, 0);
  for (let stop = 0; stop <= STOPS; stop++) {
    const share = stop / STOPS;
    const chroma = 0.17 * Math.sin(Math.PI * (0.06 + 0.86 * share)) ** 0.6;
    ramp.addColorStop(share, `oklch(${0.12 + 0.84 * share} ${chroma} ${290 + 165 * share})`);
  }
  context.fillStyle = ramp;
  context.fillRect(0, 0, 256, 1);
  colors = context.getImageData(0, 0, 256, 1).data;
  return colors;
}

/** Draw `heat` (see docs/explain.md) onto a canvas that covers an image of this size. */
export function drawHeat(canvas, heat, { width, height }) {
  const scale = LONGEST_SIDE / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const box = heat.box ?? { x_min: 0, y_min: 0, x_max: width, y_max: height };
  const columns = cellsOf(canvas.width, width, box.x_min, box.x_max, heat.width);
  const rows = cellsOf(canvas.height, height, box.y_min, box.y_max, heat.height);
  const pixels = new ImageData(canvas.width, canvas.height);
  const ramp = heatColors();
  const range = heat.high - heat.low || 1;
  rows.forEach((row, y) => {
    columns.forEach((column, x) => {
      if (!row || !column) return;
      const value = (sample(heat.values, row, column) - heat.low) / range;
      const share = Math.min(1, Math.max(0, value));
      const from = Math.round(share * 255) * 4;
      const to = (y * canvas.width + x) * 4;
      pixels.data.set(ramp.subarray(from, from + 3), to);
      pixels.data[to + 3] = COLD_ALPHA + (HOT_ALPHA - COLD_ALPHA) * share;
    });
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** For each pixel along a side, the four nearest cells and their weights (Keys 1981, a = -0.5); null outside the box. */
function cellsOf(pixels, side, low, high, cells) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const at = ((pixel + 0.5) / pixels) * side;
    if (at < low || at > high) return null;
    const place = ((at - low) / (high - low)) * cells - 0.5;
    const first = Math.floor(place);
    const t = place - first;
    const weights = [
      -0.5 * t ** 3 + t ** 2 - 0.5 * t,
      1.5 * t ** 3 - 2.5 * t ** 2 + 1,
      -1.5 * t ** 3 + 2 * t ** 2 + 0.5 * t,
      0.5 * t ** 3 - 0.5 * t ** 2,
    ];
    const clamp = (cell) => Math.min(cells - 1, Math.max(0, cell));
    return { cells: [-1, 0, 1, 2].map((offset) => clamp(first + offset)), weights };
  });
}

function sample(values, row, column) {
  let sum = 0;
  for (let i = 0; i < 4; i++) {
    const line = values[row.cells[i]];
    for (let j = 0; j < 4; j++) sum += row.weights[i] * column.weights[j] * line[column.cells[j]];
  }
  return sum;
}

/** The colors from cold to hot as a strip, for a legend. */
export function drawRamp(canvas) {
  Object.assign(canvas, { width: 256, height: 1 });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(heatColors()), 256, 1), 0, 0);
}

/** The heat map over the large image. */
export class HeatLayer {
  constructor() {
    this.canvas = byId("heat");
  }

  show(heat, size) {
    drawHeat(this.canvas, heat, size);
    this.canvas.hidden = false;
  }

  hide() {
    this.canvas.hidden = true;
  }
}
