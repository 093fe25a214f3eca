// The film strip: pixels → filters → feature maps → heat map. Each frame opens to show its details.

import { byId, el } from "./dom.js";
import { drawHeat } from "./heat.js";
import { Latest } from "./latest.js";
import { taskOf } from "./results.js";
import { count, percent, title as titleOf } from "./text.js";

const MOSAIC = 16;
const MAPS = 16;
const LOAD_MARGIN = "200px";

export class Strip {
  #work = new Latest();
  #details = new Latest();

  constructor(playground) {
    this.playground = playground;
    this.section = byId("inside");
    this.track = byId("strip");
    this.detail = byId("detail");
    // Explanations cost runs of the network, so they are loaded only when the strip is scrolled into view.
    this.watcher = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) this.#load();
      },
      { rootMargin: LOAD_MARGIN },
    );
  }

  show(model) {
    this.model = model;
    this.loaded = false;
    this.explained = null;
    this.#addFrames();
    this.section.hidden = false;
    this.watcher.disconnect();
    this.watcher.observe(this.section);
  }

  hide() {
    this.#work.cancel();
    this.#details.cancel();
    this.watcher.disconnect();
    this.section.hidden = true;
    this.detail.replaceChildren();
  }

  /** Show the heat map that lies over the image; null: there is none. */
  showHeat(explained) {
    const frame = this.frames?.heat;
    if (!frame || !explained) return;
    const canvas = el("canvas");
    drawHeat(canvas, explained.heat, explained);
    this.#fill(frame, [el("img", { src: this.playground.view.url, alt: "" }), canvas], "Heat map", explained.target?.label ?? "");
    this.explained = explained;
    if (frame.button.getAttribute("aria-expanded") === "true") this.#openHeat();
  }

  #addFrames() {
    const { card } = this.model;
    this.frames = {
      pixels: this.#frame("Pixels", () => this.#openPixels()),
      filters: this.#frame("Filters", () => this.#openFilters()),
    };
    for (const stage of card.stages) {
      this.frames[stage.name] = this.#frame(titleOf(stage.name), () => this.#openStage(stage.name));
      this.frames[stage.name].under.textContent = `${stage.channels} maps`;
    }
    if (taskOf(card.task).target) this.frames.heat = this.#frame("Heat map", () => this.#openHeat());
    this.track.replaceChildren(...Object.values(this.frames).map(({ button }) => button));
    const { view } = this.playground;
    const size = `${card.input.width} × ${card.input.height}`;
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
      this.#details.cancel();
      for (const each of this.track.children) each.setAttribute("aria-expanded", "false");
      this.detail.replaceChildren();
      if (opened) return;
      button.setAttribute("aria-expanded", "true");
      open();
    });
    return { button, pane, title, under };
  }

  #fill({ button, pane, title, under }, content, name, text) {
    button.classList.remove("waiting");
    pane.replaceChildren(...[content].flat());
    title.textContent = name;
    under.textContent = text;
  }

  async #load() {
    if (this.loaded) return;
    this.loaded = true;
    this.watcher.disconnect();
    const { playground } = this;
    const missing = (frames) => (error) => frames.forEach((frame) => this.#fill(frame, "", frame.title.textContent, error.title ?? "not available"));
    const { filters, heat } = this.frames;
    const stages = this.model.card.stages.map(({ name }) => this.frames[name]);
    await this.#work.run(async (signal) => {
      await Promise.all([
        playground.explain("filters", { thumbnails: true }, signal).then(({ answer }) => this.#showFilters(answer)).catch(missing([filters])),
        stages.length && playground.explain("maps", { thumbnails: true, channels: MAPS }, signal).then(({ answer }) => this.#showMaps(answer)).catch(missing(stages)),
      ]);
      if (!heat) return;
      // The heat map of a box or an area takes many runs of the network, so it waits until one is chosen.
      if (!taskOf(this.model.card.task).cheapHeat) return this.#fill(heat, "", "Heat map", "choose a row above");
      await playground.explain("cam", { score: false }, signal).then(({ answer }) => this.explained ?? this.showHeat(answer)).catch(missing([heat]));
    });
  }

  #showFilters(answer) {
    this.filters = answer;
    const { layer } = answer;
    const images = answer.filters.slice(0, MOSAIC).map(({ thumbnail }) => el("img", { src: thumbnail, alt: "" }));
    const text = `${layer.filters} of ${layer.height} × ${layer.width}`;
    this.#fill(this.frames.filters, el("div", { class: "mosaic" }, ...images), "Filters", text);
  }

  #showMaps(answer) {
    this.maps = answer;
    for (const stage of answer.stages) {
      const frame = this.frames[stage.name];
      const [strongest] = stage.maps;
      frame.pane.classList.add("pixels");
      const text = `${stage.channels} maps, ${stage.width}\u00a0×\u00a0${stage.height}`;
      this.#fill(frame, el("img", { src: strongest.thumbnail, alt: "" }), titleOf(stage.name), text);
    }
  }

  #openPixels() {
    const { input, cost } = this.model.card;
    const how = { crop: "cropped to its center", stretch: "stretched", letterbox: "fitted into a frame" }[input.resize] ?? "resized";
    this.#showDetail(`The network gets the image ${how}, at ${input.width} × ${input.height} pixels: ${count(input.width * input.height * 3)} numbers. The result takes ${count(cost.macs)} multiply-accumulates with ${count(cost.parameters)} learned parameters.`);
  }

  #openFilters() {
    if (!this.filters) return;
    const { layer, filters } = this.filters;
    this.#showDetail(
      `Each of the ${layer.filters} filters is a pattern of ${layer.height} × ${layer.width} pixels. The network compares it with every position in the image. The filters were learned, not designed.`,
      el("div", { class: "thumbs" }, ...filters.map(({ filter, thumbnail }) => thumb(thumbnail, `#${filter}`))),
    );
  }

  #openStage(name) {
    const stage = this.maps?.stages.find((each) => each.name === name);
    if (!stage) return;
    const below = el("div", { class: "detail" });
    const buttons = stage.maps.map((map) => {
      const button = thumb(map.thumbnail, `#${map.channel}`, "button");
      button.addEventListener("click", () => {
        for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
        this.#openChannel(stage, map, below);
      });
      return button;
    });
    this.#showDetail(
      `The ${stage.maps.length} strongest of ${stage.channels} feature maps. A map is bright where its channel is active. One cell covers ${Number(stage.stride.toPrecision(3))} pixels of the network's input. Choose a map to show it over the image.`,
      el("div", { class: "thumbs" }, ...buttons),
      below,
    );
  }

  async #openChannel(stage, map, below) {
    const { playground } = this;
    const query = { stage: stage.name, channel: map.channel };
    try {
      await this.#details.run(async (signal) => {
        const { answer } = await playground.explain("maps", query, signal);
        const [{ maps: [{ values, max }], width, height }] = answer.stages;
        const low = Math.min(...values.map((row) => Math.min(...row)));
        playground.showHeat({ ...answer, heat: { values, width, height, low, high: max, box: answer.box } });
        const patterns = await playground.explain("patterns", { ...query, thumbnails: true }, signal);
        const { peaks, receptive_field: field } = patterns.answer;
        below.replaceChildren(
          el("p", { class: "lead quiet" }, patternsText(map.channel, field, this.model.card.input)),
          el("div", { class: "thumbs large" }, ...peaks.map(({ thumbnail, value }) => thumb(thumbnail, value.toFixed(2)))),
          el("button", { class: "link", type: "button", onclick: () => playground.favorites.open(stage.name, map.channel) }, "Find its favorite patches in all images"),
        );
      });
    } catch (error) {
      below.replaceChildren(el("p", { class: "lead quiet" }, error.message));
    }
  }

  async #openHeat() {
    if (!this.explained) return this.#showDetail("Choose a class, a thing or an area above. Its heat map appears here.");
    this.playground.showHeat(this.explained);
    const { target, method } = this.explained;
    const probability = target?.probability ?? target?.score;
    this.#showDetail(`Hot pixels support ${target?.label ?? "the result"}${probability === undefined ? "" : ` (${percent(probability)})`} most. Method: ${METHODS[method] ?? method}.`);
  }

  #showDetail(text, ...more) {
    this.detail.replaceChildren(el("p", { class: "lead" }, text), ...more);
  }
}

const METHODS = {
  cam: "the exact class activation map",
  eigencam: "the first principal component of the last maps",
  rise: "RISE, which hides random parts of the image",
  occlusion: "occlusion, which covers one region after another",
};

/**
 * What a cell of a channel depends on. `height` and `width` are null where the whole image affects it, and count the
 * padding around the network's input: they may be larger than the input itself.
 */
function patternsText(channel, { height, width, effective }, input) {
  const all = height === null || width === null || (height >= input.height && width >= input.width);
  const part = all ? "every pixel of the network's input" : `${Math.min(width, input.width)} × ${Math.min(height, input.height)} pixels of the network's input`;
  const inner = Math.round(effective ?? 0);
  const most = inner && inner < Math.min(width ?? Infinity, input.width) ? ` Most of the effect comes from the inner ${inner} × ${inner}.` : "";
  return `The regions in which channel ${channel} is most active. Each of its cells depends on ${part}, which is ${input.width} × ${input.height}.${most}`;
}

function thumb(source, text, kind = "div") {
  const attributes = kind === "button" ? { class: "thumb", type: "button", "aria-pressed": "false" } : { class: "thumb" };
  return el(kind, attributes, el("img", { src: source, alt: "", loading: "lazy" }), el("span", { class: "number" }, text));
}
