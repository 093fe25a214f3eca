// How one number is made: a filter slides over the image, and one cell of its map is multiplied out.

import { Arithmetic } from "./arithmetic.js";
import { Bench } from "./bench.js";
import { Convolution } from "./convolution.js";
import { byId, el, slider } from "./dom.js";
import { plainly } from "./failure.js";
import { Latest } from "./latest.js";
import { npyOfUrl } from "./npy.js";
import { whenSeen } from "./seen.js";

const MOST_FILTERS = 64;
const SLIDE_SECONDS = 12;
/** Where the user wants less motion, the filter moves by one cell at a time. */
const STEPS_PER_SECOND = 3;

export class How {
  #work = new Latest();
  #filters = new Latest();
  #giveUp = () => {};
  #timer = null;

  constructor(playground) {
    this.playground = playground;
    this.section = byId("how");
    this.body = byId("how-body");
  }

  show() {
    this.hide();
    this.body.replaceChildren(el("p", { class: "quiet", role: "status" }, "The arithmetic appears here."));
    this.section.hidden = false;
    this.#giveUp = whenSeen(this.section, () => this.#load());
  }

  hide() {
    this.#giveUp();
    this.#stop();
    this.#work.cancel();
    this.#filters.cancel();
    this.section.hidden = true;
  }

  async #load() {
    this.body.replaceChildren(el("p", { class: "quiet", role: "status" }, "The network runs \u2026"));
    try {
      const loaded = await this.#work.run((signal) => this.#request({ channels: MOST_FILTERS, thumbnails: true }, signal));
      if (!loaded) return;
      this.loaded = loaded;
      this.convolution = new Convolution(loaded.answer, loaded.input, loaded.map);
      this.#draw(loaded);
      this.#move(loaded.answer.row, loaded.answer.column);
    } catch (error) {
      this.body.replaceChildren(el("p", { class: "lead quiet" }, plainly(error)));
    }
  }

  /** One run of the network gives the answer and the arrays. */
  async #request(query, signal) {
    const { answer } = await this.playground.explain("convolution", { ...query, arrays: true }, signal);
    const [frame, input, map] = ["frame", "normalized", "map"].map((name) => npyOfUrl(answer.arrays[name]));
    return { answer, frame, input, map };
  }

  #draw({ answer, frame }) {
    this.bench = new Bench(frame, (row, column) => {
      this.#stop();
      this.#move(row, column);
    });
    this.bench.show(this.convolution, this.#thumbnailOf(answer.filter));
    this.arithmetic = new Arithmetic(this.convolution);
    this.place = el("div", { class: "place" });
    this.#addSliders();
    this.sentence = el("p", { class: "lead", role: "status" });
    this.body.replaceChildren(this.#choice(answer), this.bench.node, this.place, this.sentence, this.arithmetic.node);
    this.bench.attach();
  }

  #thumbnailOf(filter) {
    return this.loaded.answer.filters.find((each) => each.filter === filter).filter_thumbnail;
  }

  /** The filters with their maps: an arrow leads from each filter to the map that it makes. */
  #choice({ filters, filter, layer }) {
    this.buttons = filters.map((each) => {
      const button = el(
        "button",
        { class: "pair", type: "button", "aria-pressed": String(each.filter === filter), "aria-label": `Filter ${each.filter}` },
        el("img", { src: each.filter_thumbnail, alt: "" }),
        el("span", { class: "arrow", "aria-hidden": "true" }, "\u2193"),
        el("img", { src: each.map_thumbnail, alt: "" }),
        el("span", { class: "number" }, `#${each.filter}`),
      );
      button.addEventListener("click", () => this.#choose(each.filter));
      return button;
    });
    const all = filters.length === layer.filters ? `All ${layer.filters}` : `The strongest ${filters.length} of ${layer.filters}`;
    return el(
      "div",
      { class: "choose-filter" },
      el("p", { class: "quiet" }, `${all} filters of the first layer, and the map that each makes of your image, strongest first. Choose one.`),
      el("div", { class: "pairs", role: "group", "aria-label": "Filters" }, ...this.buttons),
    );
  }

  #addSliders() {
    const { height, width } = this.convolution;
    const make = (label, cells, set) => slider({ label, min: 0, max: cells - 1, step: 1, value: 0, format: String, onInput: set });
    this.rowSlider = make("Row", height, (value) => this.#moveByHand(value, this.column));
    this.columnSlider = make("Column", width, (value) => this.#moveByHand(this.row, value));
    this.play = el("button", { class: "button", type: "button" }, "Slide the filter");
    this.play.addEventListener("click", () => (this.#timer === null ? this.#slide() : this.#stop()));
    this.place.replaceChildren(this.rowSlider, this.columnSlider, this.play);
  }

  #moveByHand(row, column) {
    this.#stop();
    this.#move(row, column);
  }

  async #choose(filter) {
    this.buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(this.loaded.answer.filters[index].filter === filter)));
    const { row, column } = this;
    this.#stop();
    try {
      const loaded = await this.#filters.run((signal) => this.#request({ filter, row, column, channels: 1 }, signal));
      if (!loaded) return;
      this.convolution = new Convolution(loaded.answer, this.loaded.input, loaded.map);
      this.bench.show(this.convolution, this.#thumbnailOf(filter));
      const arithmetic = new Arithmetic(this.convolution);
      this.arithmetic.node.replaceWith(arithmetic.node);
      this.arithmetic = arithmetic;
      this.#move(this.row, this.column);
    } catch (error) {
      this.sentence.textContent = plainly(error);
    }
  }

  #move(row, column, { sliding = false } = {}) {
    Object.assign(this, { row, column });
    for (const [label, value] of [[this.rowSlider, row], [this.columnSlider, column]]) setSlider(label, value);
    const cell = this.convolution.at(row, column);
    this.bench.mark(row, column, sliding);
    this.arithmetic.show(cell);
    if (!sliding) this.sentence.textContent = this.arithmetic.sentence(cell, row, column);
  }

  /** Slide from the first cell to the last, row by row; the map appears behind the filter. */
  #slide() {
    const { height, width } = this.convolution;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const perSecond = calm ? STEPS_PER_SECOND : (height * width) / SLIDE_SECONDS;
    const atEnd = this.row === height - 1 && this.column === width - 1;
    const first = atEnd || !calm ? 0 : this.row * width + this.column;
    const began = performance.now();
    this.play.textContent = "Stop";
    const step = () => {
      const cell = Math.min(height * width - 1, first + Math.floor(((performance.now() - began) / 1000) * perSecond));
      this.#timer = requestAnimationFrame(step);
      this.#move(Math.floor(cell / width), cell % width, { sliding: true });
      if (cell === height * width - 1) this.#stop();
    };
    this.#timer = requestAnimationFrame(step);
  }

  #stop() {
    if (this.#timer === null) return;
    cancelAnimationFrame(this.#timer);
    this.#timer = null;
    this.play.textContent = "Slide the filter";
    this.#move(this.row, this.column);
  }
}

function setSlider(label, value) {
  const input = label.querySelector("input");
  if (Number(input.value) === value) return;
  input.value = value;
  label.querySelector("output").textContent = value;
  input.style.setProperty("--share", `${(value / (input.max || 1)) * 100}%`);
}
