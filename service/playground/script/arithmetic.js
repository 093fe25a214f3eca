// One cell multiplied out: patch × filter = products, their sum and the bias, the activation, the pooling.

import { activationOf } from "./convolution.js";
import { el, svg } from "./dom.js";
import { largestOf, NumberGrid } from "./grids.js";
import { agree, fixed, signed } from "./numbers.js";

const COLORS = ["Red", "Green", "Blue"];
/** The products of further channels are shown as one sum. */
const MOST_CHANNELS = 12;
const CURVE = { width: 180, height: 104, samples: 60 };
const LEAST_REACH = 3;

export class Arithmetic {
  constructor(convolution) {
    this.convolution = convolution;
    const { channels, height, width } = convolution.layer;
    const nameOf = (channel) => (channels === 3 ? COLORS[channel] : channels === 1 ? "Brightness" : `Channel ${channel}`);
    this.more = Math.max(0, channels - MOST_CHANNELS);
    this.lines = Array.from({ length: channels - this.more }, (_, channel) => {
      const name = nameOf(channel);
      const [patch, weights, products] = ["patch", "filter", "products"].map((what) => new NumberGrid(`${name}, ${what}`, height, width));
      return { name, patch, weights, products, sum: el("b", { class: "number" }) };
    });
    this.total = el("dl", { class: "total" });
    this.after = el("div", { class: "after" });
    const rows = this.lines.map(({ patch, weights, products, sum }) =>
      el("div", { class: "product" }, patch.node, sign("\u00d7"), weights.node, sign("="), products.node, el("p", { class: "partial" }, el("span", { class: "quiet" }, "sum "), sum)),
    );
    this.node = el(
      "div",
      { class: "arithmetic" },
      el("div", { class: "products" }, el("h3", {}, "Multiply"), ...rows),
      el("div", { class: "then" }, el("h3", {}, "Add"), this.total, this.after),
    );
    this.#addSteps();
  }

  show(cell) {
    const largest = { patch: largestOf(cell.patch), weights: largestOf(cell.weights), products: largestOf(cell.products) };
    this.lines.forEach((line, channel) => {
      for (const what of ["patch", "weights", "products"]) line[what].show(cell[what][channel], largest[what]);
      line.sum.textContent = fixed(cell.sums[channel]);
    });
    const terms = this.lines.map(({ name }, channel) => [name, cell.sums[channel]]);
    if (this.more) terms.push([`${this.more} further channels`, cell.sums.slice(MOST_CHANNELS).reduce((sum, value) => sum + value, 0)]);
    this.total.replaceChildren(
      ...[...terms, ["Bias, learned with the filter", cell.bias]].flatMap(([name, value]) => [el("dt", {}, name), el("dd", { class: "number" }, signed(value))]),
      el("dt", { class: "result" }, "Sum"),
      el("dd", { class: "number result" }, fixed(cell.sum)),
    );
    this.steps.forEach((step, index) => step.show(cell.steps[index]));
    this.verdict.textContent = verdictOf(cell);
    this.verdict.classList.toggle("differs", !agree(cell.value, cell.network, cell.size));
  }

  sentence(cell, row, column) {
    const last = cell.steps.at(-1);
    const after = last ? `, and ${fixed(last.value)} after ${this.steps.map(({ name }) => name).join(" and ")}` : "";
    return `Cell in row ${row}, column ${column}: ${cell.products.flat(2).length} products and the bias add up to ${fixed(cell.sum)}${after}.`;
  }

  #addSteps() {
    this.steps = this.convolution.answer.steps.map((step) => (step.step === "activation" ? activationStep(step) : poolingStep(step)));
    this.verdict = el("p", { class: "verdict number" });
    const [first, ...rest] = this.steps;
    // The cell of the map is what the activation makes, where it comes first.
    const inMap = first && this.convolution.answer.steps[0].step === "activation" ? [first.node, this.verdict, ...rest.map(({ node }) => node)] : [this.verdict, ...this.steps.map(({ node }) => node)];
    const none = this.steps.length ? [] : [el("p", { class: "quiet" }, "No activation function that this page knows follows directly; the sum goes on as it is.")];
    this.after.replaceChildren(...inMap, ...none);
  }
}

function verdictOf({ value, network, size }) {
  if (agree(value, network, size)) return `${fixed(network, 4)} is what the network itself computed in this cell: the same number.`;
  return `The network computed ${fixed(network, 4)} in this cell. It rounds its numbers more, to fewer bits.`;
}

const sign = (text) => el("span", { class: "sign", "aria-hidden": "true" }, text);

function activationStep(step) {
  const { title, text, of } = activationOf(step);
  const value = el("dd", { class: "number result" });
  const { node, point } = curve(of, step);
  return {
    name: title,
    node: el("div", { class: "step" }, el("h3", {}, title), el("p", { class: "quiet" }, text), node, el("dl", { class: "total" }, el("dt", { class: "result" }, `After ${title}`), value)),
    show: (made) => {
      value.textContent = fixed(made.value);
      point(made.before, made.value);
    },
  };
}

/** The curve of a function with a dot that moves on it. */
function curve(of, { parameters }) {
  const { width, height, samples } = CURVE;
  const chart = svg("svg", { class: "function", viewBox: `-6 -6 ${width + 12} ${height + 12}`, "aria-hidden": "true" });
  const path = svg("path", { class: "path" });
  const dot = svg("circle", { class: "dot", r: 5 });
  const [across, down] = [svg("line", { class: "axis" }), svg("line", { class: "axis" })];
  chart.append(across, down, path, dot);
  const point = (before, value) => {
    const reach = Math.max(LEAST_REACH, (parameters.high ?? 0) * 1.25, Math.abs(before) * 1.15);
    const inputs = Array.from({ length: samples + 1 }, (_, index) => ((index / samples) * 2 - 1) * reach);
    const outputs = inputs.map(of);
    const [low, high] = [Math.min(0, ...outputs), Math.max(1, ...outputs)];
    const x = (at) => ((at + reach) / (2 * reach)) * width;
    const y = (at) => height - ((at - low) / (high - low)) * height;
    path.setAttribute("d", inputs.map((at, index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(outputs[index]).toFixed(1)}`).join(""));
    for (const [name, at] of Object.entries({ x1: 0, x2: width, y1: y(0), y2: y(0) })) across.setAttribute(name, at);
    for (const [name, at] of Object.entries({ x1: x(0), x2: x(0), y1: 0, y2: height })) down.setAttribute(name, at);
    dot.setAttribute("cx", x(before));
    dot.setAttribute("cy", y(value));
  };
  return { node: chart, point };
}

function poolingStep(step) {
  const title = step.name === "max" ? "Max pooling" : "Average pooling";
  const text = `Of each ${step.height} × ${step.width} cells of the map ${step.name === "max" ? "the largest" : "the mean"} goes on. The frame marks this cell.`;
  const grid = new NumberGrid("Cells of the map", step.height, step.width);
  const value = el("dd", { class: "number result" });
  const node = el("div", { class: "step" }, el("h3", {}, title), el("p", { class: "quiet" }, text), grid.node, el("dl", { class: "total" }, el("dt", { class: "result" }, `After ${title.toLowerCase()}`), value));
  return {
    name: title.toLowerCase(),
    node,
    show: (made) => {
      node.hidden = !made;
      if (!made) return;
      grid.show(made.values, largestOf([made.values]));
      grid.mark(...made.own);
      value.textContent = fixed(made.value);
    },
  };
}
