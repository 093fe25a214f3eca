// The film strip: pixels → filters → maps → heat → answer. A frame opens into what it is made of.

import { byId, el } from "./dom.js";
import { drawHeat } from "./heat.js";
import { Latest } from "./latest.js";
import { count, percent } from "./text.js";

const MOSAIC = 16;
const MAPS = 16;
const NEAR = "200px";

export class Strip {
  #work = new Latest();
  #opened = new Latest();

  constructor(bench) {
    this.bench = bench;
    this.section = byId("inside");
    this.track = byId("strip");
    this.detail = byId("detail");
    // A network is opened up only for readers who scroll to it.
    this.watcher = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) this.#load();
      },
      { rootMargin: NEAR },
    );
  }

  about(model, result) {
    this.model = model;
    this.result = result;
    this.loaded = false;
    this.#lay();
    this.section.hidden = false;
    this.watcher.disconnect();
    this.watcher.observe(this.section);
  }

  hide() {
    this.#work.cancel();
    this.#opened.cancel();
    this.watcher.disconnect();
    this.section.hidden = true;
    this.detail.replaceChildren();
  }

  /** Follow the heat that lies over the image; null where there is none. */
  showHeat(explained) {
    const frame = this.frames?.heat;
    if (!frame || !explained) return;
    const canvas = el("canvas");
    drawHeat(canvas, explained.heat, explained);
    this.#fill(frame, [el("img", { src: this.bench.view.url, alt: "" }), canvas], "Heat", explained.target?.label ?? "");
    this.explained = explained;
    if (frame.button.getAttribute("aria-expanded") === "true") this.#openHeat();
  }

  #lay() {
    const { card } = this.model;
    this.frames = {
      pixels: this.#frame("Pixels", () => this.#openPixels()),
      filters: this.#frame("Filters", () => this.#openFilters()),
    };
    for (const stage of card.stages) {
      this.frames[stage.name] = this.#frame(named(stage.name), () => this.#openStage(stage.name));
      this.frames[stage.name].under.textContent = `${stage.channels} maps`;
    }
    this.frames.heat = this.#frame("Heat", () => this.#openHeat());
    this.track.replaceChildren(...Object.values(this.frames).map(({ button }) => button));
    const { view } = this.bench;
    const size = `${card.input.width} × ${card.input.height} seen`;
    this.#fill(this.frames.pixels, el("img", { src: view.url, alt: "" }), "Pixels", size);
  }

  #frame(name, open) {
    const pane = el("div", { class: "window" });
    const title = el("b", {}, name);
    const under = el("span", { class: "quiet number" }, "\u00a0");
    const button = el(
      "button",
      { class: "frame waiting", type: "button", "aria-expanded": "false", "aria-controls": "detail" },
      pane,
      el("span", {}, title, under),
    );
    button.addEventListener("click", () => {
      const opened = button.getAttribute("aria-expanded") === "true";
      this.#opened.cancel();
      for (const each of this.track.children) each.setAttribute("aria-expanded", "false");
      this.detail.replaceChildren();
      if (opened) return;
      button.setAttribute("aria-expanded", "true");
      open();
    });
    return { button, pane, title, under };
  }

  #fill({ button, pane, title, under }, content, name, said) {
    button.classList.remove("waiting");
    pane.replaceChildren(...[content].flat());
    title.textContent = name;
    under.textContent = said;
  }

  async #load() {
    if (this.loaded) return;
    this.loaded = true;
    this.watcher.disconnect();
    const { bench } = this;
    const missing = (frames) => (error) => frames.forEach((frame) => this.#fill(frame, "", frame.title.textContent, error.title ?? "not there"));
    const { filters, heat } = this.frames;
    const stages = this.model.card.stages.map(({ name }) => this.frames[name]);
    await this.#work.run(async (signal) => {
      await Promise.all([
        bench.explain("filters", { thumbnails: true }, signal).then(({ answer }) => this.#showFilters(answer)).catch(missing([filters])),
        stages.length && bench.explain("maps", { thumbnails: true, channels: MAPS }, signal).then(({ answer }) => this.#showMaps(answer)).catch(missing(stages)),
      ]);
      // Heat for a box or an area takes many runs of the network: only when a reader picks one, or opens the frame.
      if (this.model.card.task !== "classify") return this.#fill(heat, "", "Heat", "choose a row above");
      await bench.explain("cam", { score: false }, signal).then(({ answer }) => this.explained ?? this.showHeat(answer)).catch(missing([heat]));
    });
  }

  #showFilters(answer) {
    this.filters = answer;
    const { layer } = answer;
    const images = answer.filters.slice(0, MOSAIC).map(({ thumbnail }) => el("img", { src: thumbnail, alt: "" }));
    const said = `${layer.filters} of ${layer.height} × ${layer.width}`;
    this.#fill(this.frames.filters, el("div", { class: "mosaic" }, ...images), "Filters", said);
  }

  #showMaps(answer) {
    this.maps = answer;
    for (const stage of answer.stages) {
      const frame = this.frames[stage.name];
      const [strongest] = stage.maps;
      frame.pane.classList.add("pixels");
      const said = `${stage.channels} maps, ${stage.width} × ${stage.height}`;
      this.#fill(frame, el("img", { src: strongest.thumbnail, alt: "" }), named(stage.name), said);
    }
  }

  #openPixels() {
    const { input, cost } = this.model.card;
    const how = { crop: "cut to its middle", stretch: "stretched", letterbox: "fitted into a frame" }[input.resize];
    this.#tell(`The image is ${how} at ${input.width} × ${input.height} pixels: ${count(input.width * input.height * 3)} numbers in. From here it takes ${count(cost.macs)} multiplications and ${count(cost.parameters)} learned numbers.`);
  }

  #openFilters() {
    if (!this.filters) return;
    const { layer, filters } = this.filters;
    this.#tell(
      `Each of the ${layer.filters} filters is a patch of ${layer.height} × ${layer.width} pixels that is laid on every place of the image. Nobody drew them; they were learned.`,
      el("div", { class: "thumbs" }, ...filters.map(({ filter, thumbnail }) => thumb(thumbnail, `no. ${filter}`))),
    );
  }

  #openStage(name) {
    const stage = this.maps?.stages.find((each) => each.name === name);
    if (!stage) return;
    const below = el("div", { class: "detail" });
    const buttons = stage.maps.map((map) => {
      const button = thumb(map.thumbnail, `no. ${map.channel}`, "button");
      button.addEventListener("click", () => {
        for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
        this.#openChannel(stage, map, below);
      });
      return button;
    });
    this.#tell(
      `The ${stage.maps.length} strongest of ${stage.channels} maps. Bright is where in the image a channel found what it looks for; a cell spans ${Number(stage.stride.toPrecision(3))} pixels of the network's frame. Choose one to lay it over the image.`,
      el("div", { class: "thumbs" }, ...buttons),
      below,
    );
  }

  async #openChannel(stage, map, below) {
    const { bench } = this;
    const query = { stage: stage.name, channel: map.channel };
    try {
      await this.#opened.run(async (signal) => {
        const { answer } = await bench.explain("maps", query, signal);
        const [{ maps: [{ values, max }], width, height }] = answer.stages;
        const low = Math.min(...values.map((row) => Math.min(...row)));
        bench.showHeat({ ...answer, heat: { values, width, height, low, high: max, box: answer.box } });
        const patterns = await bench.explain("patterns", { ...query, thumbnails: true }, signal);
        const { peaks, receptive_field: field } = patterns.answer;
        below.replaceChildren(
          el("p", { class: "lead quiet" }, `Where channel ${map.channel} fires most; ${field.height} × ${field.width} pixels of the frame can reach it.`),
          el("div", { class: "thumbs large" }, ...peaks.map(({ thumbnail, value }) => thumb(thumbnail, value.toFixed(2)))),
        );
      });
    } catch (error) {
      below.replaceChildren(el("p", { class: "lead quiet" }, error.message));
    }
  }

  async #openHeat() {
    if (!this.explained) return this.#tell("Choose a class, a thing or an area above, and its heat appears here.");
    this.bench.showHeat(this.explained);
    const { target, method } = this.explained;
    const sure = target?.probability ?? target?.score;
    this.#tell(`Which places speak for ${target?.label ?? "the answer"}${sure === undefined ? "" : ` (${percent(sure)})`}, by ${METHODS[method] ?? method}. Hot pixels matter more.`);
  }

  #tell(text, ...more) {
    this.detail.replaceChildren(el("p", { class: "lead" }, text), ...more);
  }
}

const METHODS = {
  cam: "the exact class activation map",
  eigencam: "the first principal component of the last maps",
  rise: "hiding random parts of the image",
  occlusion: "covering one place after another",
};

const named = (stage) => stage.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

function thumb(source, said, kind = "div") {
  const attributes = kind === "button" ? { class: "thumb", type: "button", "aria-pressed": "false" } : { class: "thumb" };
  return el(kind, attributes, el("img", { src: source, alt: "", loading: "lazy" }), el("span", { class: "number" }, said));
}
