// The arithmetic of a first convolution: a patch times a filter, plus a bias, then an activation and a pooling.

import { fixed } from "./numbers.js";

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const between = (x, low, high) => Math.min(high, Math.max(low, x));

/** By the names of the API: the function, and what it does in words. */
const ACTIVATIONS = {
  relu: [(x) => Math.max(0, x), () => ["ReLU", "Negative numbers become 0."]],
  clip: [
    (x, { low, high }) => between(x, low, high),
    ({ low, high }) => [low === 0 ? `ReLU${high}` : "Clip", `Numbers below ${low} become ${low}, numbers above ${high} become ${high}.`],
  ],
  leaky_relu: [(x, { alpha }) => (x < 0 ? alpha * x : x), ({ alpha }) => ["Leaky ReLU", `Negative numbers are multiplied by ${fixed(alpha)}.`]],
  elu: [(x, { alpha }) => (x < 0 ? alpha * (Math.exp(x) - 1) : x), ({ alpha }) => ["ELU", `Negative numbers end at ${fixed(-alpha)}.`]],
  tanh: [(x) => Math.tanh(x), () => ["tanh", "Every number is pressed between \u22121 and 1."]],
  sigmoid: [sigmoid, () => ["Sigmoid", "Every number is pressed between 0 and 1."]],
  softplus: [(x) => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x))), () => ["Softplus", "Negative numbers become nearly 0, smoothly."]],
  hard_sigmoid: [(x, { alpha, beta }) => between(alpha * x + beta, 0, 1), () => ["Hard sigmoid", "Every number is pressed between 0 and 1."]],
  silu: [(x) => x * sigmoid(x), () => ["SiLU", "Negative numbers become nearly 0, smoothly."]],
  hard_swish: [(x) => x * between(x / 6 + 0.5, 0, 1), () => ["Hard swish", "Negative numbers become nearly 0."]],
};

/** Return `{title, text, of}` of an activation in the service's answer. */
export function activationOf({ name, parameters }) {
  const [apply, describe] = ACTIVATIONS[name];
  const [title, text] = describe(parameters);
  return { title, text, of: (value) => apply(value, parameters) };
}

/** One filter of a first convolution, on one image. */
export class Convolution {
  /**
   * `answer` is that of view=convolution, for any cell of this filter; `input` the normalized tensor, `map` the filter's
   * map, both as `{data, shape}`.
   */
  constructor(answer, input, map) {
    const { layer, patch, row, column } = answer;
    Object.assign(this, { answer, layer, input, map });
    [this.height, this.width] = layer.map;
    this.padding = [row * layer.stride[0] - patch.row, column * layer.stride[1] - patch.column];
  }

  /** Where the filter lies for a cell: {row, column, height, width} in the input. */
  patchOf(row, column) {
    const { stride, dilation, height, width } = this.layer;
    return {
      row: row * stride[0] - this.padding[0],
      column: column * stride[1] - this.padding[1],
      height: (height - 1) * dilation[0] + 1,
      width: (width - 1) * dilation[1] + 1,
    };
  }

  /** The cell whose patch has its middle nearest to a place of the input. */
  cellAt(y, x) {
    const { stride } = this.layer;
    const { height, width } = this.patchOf(0, 0);
    const nearest = (at, axis, size, cells) => between(Math.round((at + this.padding[axis] - size / 2) / stride[axis]), 0, cells - 1);
    return [nearest(y, 0, height, this.height), nearest(x, 1, width, this.width)];
  }

  /** Multiply out one cell: grids are [channel][row][column]. */
  at(row, column) {
    const { height, width, channels, dilation } = this.layer;
    const [, , rows, columns] = this.input.shape;
    const start = this.patchOf(row, column);
    const grid = (make) =>
      Array.from({ length: channels }, (_, channel) =>
        Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => make(channel, y, x))),
      );
    const inside = (y, x) => y >= 0 && y < rows && x >= 0 && x < columns;
    const patch = grid((channel, y, x) => {
      const [line, at] = [start.row + y * dilation[0], start.column + x * dilation[1]];
      const plane = channel + this.answer.patch.first_channel;
      return inside(line, at) ? this.input.data[(plane * rows + line) * columns + at] : 0;
    });
    const { weights, bias } = this.answer;
    const products = grid((channel, y, x) => patch[channel][y][x] * weights[channel][y][x]);
    const sums = products.map((plane) => plane.flat().reduce((sum, value) => sum + value, 0));
    const sum = sums.reduce((total, value) => total + value, bias);
    const size = products.flat(2).reduce((total, value) => total + Math.abs(value), 0);
    const steps = this.#steps(sum, row, column);
    const [first] = steps;
    return {
      patch, weights, products, sums, bias, sum, size, steps,
      /** What this cell of the map is, by hand and by the network. */
      value: first?.step === "activation" ? first.value : sum,
      network: this.map.data[row * this.width + column],
    };
  }

  #steps(sum, row, column) {
    let value = sum;
    const made = [];
    for (const step of this.answer.steps) {
      const before = value;
      const pooled = step.step === "pooling" ? this.#pooled(step, row, column) : null;
      if (step.step === "pooling" && !pooled) break;
      value = pooled ? pooled.value : activationOf(step).of(value);
      made.push({ ...step, ...pooled, before, value });
    }
    return made;
  }

  /** A pooling reads the map, which is what the network computed in the cells of its window. */
  #pooled(step, row, column) {
    const pad = [step.row * step.stride[0] - step.first_row, step.column * step.stride[1] - step.first_column];
    const place = [row, column].map((at, axis) => Math.floor((at + pad[axis]) / step.stride[axis]));
    const [firstRow, firstColumn] = place.map((at, axis) => at * step.stride[axis] - pad[axis]);
    if (row >= firstRow + step.height || column >= firstColumn + step.width) return null;
    const values = Array.from({ length: step.height }, (_, y) =>
      Array.from({ length: step.width }, (_, x) => {
        const [line, at] = [firstRow + y, firstColumn + x];
        return line >= 0 && line < this.height && at >= 0 && at < this.width ? this.map.data[line * this.width + at] : null;
      }),
    );
    const known = values.flat().filter((value) => value !== null);
    const value = step.name === "max" ? Math.max(...known) : known.reduce((sum, one) => sum + one, 0) / known.length;
    return { values, value, row: place[0], column: place[1], own: [row - firstRow, column - firstColumn] };
  }
}
