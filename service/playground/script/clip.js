// A clip: its answers along a time line as they arrive, each frame's boxes and masks over the moving image.

import { ANSWERS } from "./answers.js";
import { lines } from "./api.js";
import { curlOf, clipLine } from "./cost.js";
import { byId, el, svg, vary } from "./dom.js";
import { Latest } from "./latest.js";
import { plural } from "./text.js";

const PATH = "v1/video";
const FPS = 2;
const LANES = 6;
/** Of a frame's time on its lane; the rest keeps frames apart. */
const CELL = 0.94;
const LEAST_SHARE = 0.05;

/** What each frame's answer puts on the lanes: a label and how much of it, 0–1. */
const SHARES = {
  classify: ({ predictions }) => predictions.map(({ label, probability }) => [label, probability]),
  detect: ({ detections }) => detections.map(({ label, score }) => [label, score]),
  segment: ({ segments }) => segments.map(({ label, fraction }) => [label, fraction]),
};

export class Clip {
  #work = new Latest();
  #url = null;

  constructor(bench) {
    this.bench = bench;
    this.section = byId("clip");
    this.body = byId("clip-body");
    this.video = byId("moving");
    this.video.addEventListener("timeupdate", () => this.#follow(this.video.currentTime));
  }

  hide() {
    this.#work.cancel();
    this.section.hidden = true;
    this.video.pause();
    this.video.hidden = true;
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = null;
  }

  /** Show the clip and ask about it with the model that is chosen. */
  async run() {
    const { image, model } = this.bench.asked();
    const { task } = model.card;
    const own = task === "detect" ? ANSWERS.detect.query(this.bench.options) : {};
    const query = { task, model: model.name, fps: FPS, ...own };
    this.#open(image);
    this.#work.cancel();
    Object.assign(this, { task, frames: [], lanes: new Map(), shown: null, line: clipLine(image, PATH, query) });
    await this.#work.run(async (signal) => {
      for await (const event of lines(PATH, image.blob, query, signal)) this.#take(event);
    });
  }

  #open({ blob }) {
    if (this.#url) return;
    this.#url = URL.createObjectURL(blob);
    this.video.src = this.#url;
    this.video.hidden = false;
  }

  #take(event) {
    if (event.event === "start") this.#start(event.video);
    if (event.event === "frame" && !event.error) this.#add(event);
    if (event.event === "summary") this.#say(`${plural(this.frames.length, "frame")} looked at.${event.detail ? ` ${event.detail}` : ""}`);
    if (event.event === "error") this.#say(event.error.detail);
  }

  #start(info) {
    this.info = info;
    this.seconds = info.seconds ?? 1 / FPS;
    vary(byId("image"), { "--aspect": info.width / info.height });
    this.track = el("ol", { class: "lanes", "aria-label": "What was seen, over time" });
    this.moment = el("input", { type: "range", min: 0, max: this.seconds, step: "any", value: 0, "aria-label": "Moment in the clip" });
    this.moment.addEventListener("input", () => {
      this.video.currentTime = Number(this.moment.value);
      this.#follow(Number(this.moment.value));
    });
    this.progress = el("p", { class: "quiet number", role: "status" });
    this.body.replaceChildren(el("div", { class: "timeline" }, this.track, this.moment, this.progress));
    this.section.hidden = false;
  }

  #add(frame) {
    this.frames.push(frame);
    this.seconds = Math.max(this.seconds, frame.time + 1 / FPS);
    this.moment.max = this.seconds;
    for (const [label, share] of SHARES[this.task](frame)) {
      if (share < LEAST_SHARE) continue;
      const lane = this.#lane(label);
      lane.total += share;
      lane.chart.append(
        vary(svg("rect", { x: frame.time, y: 0, width: CELL / FPS, height: 1 }), { "--share": share }),
      );
    }
    const lanes = [...this.lanes.values()].sort((a, b) => b.total - a.total).slice(0, LANES);
    for (const { chart } of lanes) chart.setAttribute("viewBox", `0 0 ${this.seconds} 1`);
    this.track.replaceChildren(...lanes.map(({ node }) => node));
    this.#say(frame.of ? `${frame.done} of ${frame.of} frames` : plural(frame.done, "frame"));
    if (this.frames.length === 1) this.#follow(0);
  }

  #lane(label) {
    if (!this.lanes.has(label)) {
      const chart = svg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
      const node = el("li", { class: "lane" }, el("span", {}, label), chart);
      this.lanes.set(label, { chart, node, total: 0 });
    }
    return this.lanes.get(label);
  }

  /** Show the answer of the last frame that was looked at by this time. */
  #follow(time) {
    if (!this.frames?.length || this.section.hidden) return;
    this.moment.value = time;
    vary(this.moment, { "--share": `${(time / this.seconds) * 100}%` });
    const frame = this.frames.findLast((each) => each.time <= time + 1e-3) ?? this.frames[0];
    if (frame === this.shown) return;
    this.shown = frame;
    const { boxes, mask, options, setThreshold, panel } = this.bench;
    const { width, height } = this.info;
    const shown = ANSWERS[this.task].show({ width, height, ...frame }, { boxes, mask, options, setThreshold });
    const when = el("p", { class: "note number" }, `At ${frame.time.toFixed(1)} s`);
    panel.replaceChildren(...shown.nodes.filter(Boolean), when, curlOf(this.line));
    panel.setAttribute("aria-busy", "false");
  }

  #say(text) {
    this.progress.textContent = text;
  }
}
