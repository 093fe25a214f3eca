// The image as the network gets it, the filter on one patch, and the map that it makes; lines join what belongs together.

import { el, setStyle, svg } from "./dom.js";
import { heatColors } from "./heat.js";

const UNSEEN = 0.16;

export class Bench {
  /** `frame` is the network's input, uint8 (1, H, W, 3); `onMove(row, column)` gets the cell that is pointed at. */
  constructor(frame, onMove) {
    this.onMove = onMove;
    this.input = el("canvas", { role: "img", "aria-label": "The image as the network gets it, with the patch under the filter" });
    this.map = el("canvas", { role: "img" });
    this.patch = el("canvas", { "aria-hidden": "true" });
    this.filter = el("img", { alt: "" });
    this.inputMark = el("i", { class: "mark" });
    this.mapMark = el("i", { class: "mark" });
    this.lines = svg("svg", { class: "lines", "aria-hidden": "true" });
    this.inputPane = el("div", { class: "pane" }, this.input, this.inputMark);
    this.mapPane = el("div", { class: "pane" }, this.map, this.mapMark);
    this.mapCaption = el("p", { class: "quiet" });
    this.node = el(
      "div",
      { class: "bench" },
      el("figure", {}, this.inputPane, el("figcaption", { class: "quiet" }, "What the network gets. Point anywhere.")),
      el("div", { class: "lens" },
        el("figure", {}, this.patch, el("figcaption", { class: "quiet" }, "patch")),
        el("b", { "aria-hidden": "true" }, "\u00d7"),
        el("figure", {}, this.filter, el("figcaption", { class: "quiet" }, "filter"))),
      el("figure", {}, this.mapPane, el("figcaption", { class: "quiet" }, this.mapCaption)),
      this.lines,
    );
    this.#drawFrame(frame);
    this.#listen(this.inputPane, (y, x) => this.convolution.cellAt(y * this.size[0], x * this.size[1]));
    this.#listen(this.mapPane, (y, x) => [this.#clamp(y, this.convolution.height), this.#clamp(x, this.convolution.width)]);
  }

  /** Follow the size of the page; call it when the node is in the page. */
  attach() {
    new ResizeObserver(() => this.#join()).observe(this.node);
  }

  show(convolution, thumbnail) {
    this.convolution = convolution;
    this.filter.src = thumbnail;
    const { answer, height, width } = convolution;
    this.map.setAttribute("aria-label", `The map of filter ${answer.filter}, ${height} by ${width} cells`);
    this.mapCaption.textContent = `Map of filter ${answer.filter}: ${width} × ${height} cells. Bright means: here.`;
    const { data } = convolution.map;
    const [low, high] = data.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [0, -Infinity]);
    this.pixels = colored(data, low, high, width, height);
    this.#paint(height * width);
  }

  /** Mark the patch and the cell; while the filter slides, the cells after this one are dim. */
  mark(row, column, sliding) {
    const { height, width } = this.convolution;
    const [inputHeight, inputWidth] = this.size;
    const [, , rows, columns] = this.convolution.input.shape;
    const at = this.convolution.patchOf(row, column);
    place(this.inputMark, at.row / rows, at.column / columns, at.height / rows, at.width / columns);
    place(this.mapMark, row / height, column / width, 1 / height, 1 / width);
    const scale = [inputHeight / rows, inputWidth / columns];
    this.patch.width = Math.max(1, Math.round(at.width * scale[1]));
    this.patch.height = Math.max(1, Math.round(at.height * scale[0]));
    this.patch.getContext("2d").drawImage(this.input, -Math.round(at.column * scale[1]), -Math.round(at.row * scale[0]));
    if (sliding || this.partial) this.#paint(sliding ? row * width + column + 1 : height * width);
    this.partial = sliding;
    this.#join();
  }

  #drawFrame({ data, shape: [, height, width] }) {
    Object.assign(this.input, { width, height });
    this.size = [height, width];
    const pixels = new ImageData(width, height);
    for (let from = 0, to = 0; to < pixels.data.length; from += 3, to += 4) {
      pixels.data.set([data[from], data[from + 1], data[from + 2], 255], to);
    }
    this.input.getContext("2d").putImageData(pixels, 0, 0);
    setStyle(this.node, { "--aspect": width / height });
  }

  #paint(shown) {
    const { height, width } = this.convolution;
    Object.assign(this.map, { width, height });
    const pixels = new ImageData(new Uint8ClampedArray(this.pixels.data), width, height);
    for (let cell = shown; cell < height * width; cell++) pixels.data[cell * 4 + 3] = 255 * UNSEEN;
    this.map.getContext("2d").putImageData(pixels, 0, 0);
  }

  #listen(pane, cellOf) {
    const move = (event) => {
      const { left, top, width, height } = pane.getBoundingClientRect();
      this.onMove(...cellOf((event.clientY - top) / height, (event.clientX - left) / width));
    };
    pane.addEventListener("pointerdown", move);
    pane.addEventListener("pointermove", move);
  }

  #clamp(share, cells) {
    return Math.min(cells - 1, Math.max(0, Math.floor(share * cells)));
  }

  /** Draw the lines from the patch on the image to the enlarged patch, and from the filter to the cell. */
  #join() {
    const own = this.node.getBoundingClientRect();
    if (!own.width) return;
    const box = (node) => {
      const { left, right, top, bottom } = node.getBoundingClientRect();
      return { left: left - own.left, right: right - own.left, top: top - own.top, bottom: bottom - own.top };
    };
    const [from, patch, filter, cell] = [this.inputMark, this.patch, this.filter, this.mapMark].map(box);
    const middle = ({ top, bottom }) => (top + bottom) / 2;
    const line = (x1, y1, x2, y2) => svg("line", { x1, y1, x2, y2 });
    const head = (x, y, angle) => svg("path", { d: "M0 0L-9 -4L-9 4Z", transform: `translate(${x} ${y}) rotate(${angle})` });
    const slope = (Math.atan2(middle(cell) - middle(filter), cell.left - filter.right) * 180) / Math.PI;
    this.lines.setAttribute("viewBox", `0 0 ${own.width} ${own.height}`);
    this.lines.replaceChildren(
      line(from.right, from.top, patch.left, patch.top),
      line(from.right, from.bottom, patch.left, patch.bottom),
      line(filter.right, middle(filter), cell.left, middle(cell)),
      head(cell.left, middle(cell), slope),
    );
  }
}

function place(mark, top, left, height, width) {
  const share = (value) => `${(value * 100).toFixed(3)}%`;
  setStyle(mark, { top: share(top), left: share(left), height: share(height), width: share(width) });
}

function colored(data, low, high, width, height) {
  const ramp = heatColors();
  const pixels = new ImageData(width, height);
  data.forEach((value, cell) => {
    const from = Math.round(((value - low) / (high - low || 1)) * 255) * 4;
    pixels.data.set(ramp.subarray(from, from + 3), cell * 4);
    pixels.data[cell * 4 + 3] = 255;
  });
  return pixels;
}
