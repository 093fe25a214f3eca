// A video: its results on a timeline as they arrive, and what was found at the moment that the video shows.

import { lines } from "./api.js";
import { curlLineOfVideo, curlOf } from "./cost.js";
import { byId, el, setStyle, svg } from "./dom.js";
import { Latest } from "./latest.js";
import { taskOf } from "./results.js";
import { plural } from "./text.js";

const PATH = "v1/video";
const FPS = 2;
const LANES = 6;
/** Share of a moment that its mark fills on a lane; the rest separates moments. */
const MARK_SHARE = 0.94;
const LEAST_SHARE = 0.05;

export class VideoTimeline {
  #work = new Latest();
  #url = null;
  #info = null;

  constructor(playground) {
    this.playground = playground;
    this.section = byId("timeline");
    this.body = byId("timeline-body");
    this.video = byId("video");
    this.video.addEventListener("timeupdate", () => this.#showMoment(this.video.currentTime));
  }

  /** Width and height of the video, once the service has read them. */
  get size() {
    return this.#info ?? {};
  }

  hide() {
    this.#work.cancel();
    this.#info = null;
    this.section.hidden = true;
    this.video.pause();
    this.video.hidden = true;
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = null;
  }

  /** Show the video and request its results from the chosen model. */
  async run() {
    const { image, model } = this.playground.current();
    const { task: name, input } = model.card;
    const task = taskOf(name);
    // The card of a temporal head, which has no image input, says its frames per second.
    const query = { task: name, model: model.selector, fps: input ? FPS : null, ...task.query(this.playground.options) };
    const step = 1 / (input ? FPS : model.card.window.fps);
    this.#open(image);
    this.#work.cancel();
    Object.assign(this, { task, step, frames: 0, moments: [], lanes: new Map(), shown: null, overall: null, line: curlLineOfVideo(image, PATH, query) });
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
    if (event.event === "summary") this.#finish(event);
    if (event.event === "error") this.#setProgress(event.error.detail);
  }

  #start(info) {
    this.#info = info;
    this.playground.showCrop();
    this.seconds = info.seconds ?? this.step;
    setStyle(byId("image"), { "--aspect": info.width / info.height });
    this.track = el("ol", { class: "lanes", "aria-label": "Results over time" });
    this.moment = el("input", { type: "range", min: 0, max: this.seconds, step: "any", value: 0, "aria-label": "Moment in the video" });
    this.moment.addEventListener("input", () => {
      this.video.currentTime = Number(this.moment.value);
      this.#showMoment(Number(this.moment.value));
    });
    this.progress = el("p", { class: "quiet number", role: "status" });
    this.body.replaceChildren(el("div", { class: "timeline" }, this.track, this.moment, this.progress));
    this.section.hidden = false;
  }

  #add(frame) {
    this.frames += 1;
    this.seconds = Math.max(this.seconds, frame.time + this.step);
    this.moment.max = this.seconds;
    for (const moment of this.#momentsOf(frame)) this.#mark(moment);
    const lanes = [...this.lanes.values()].sort((a, b) => b.total - a.total).slice(0, LANES);
    for (const { chart } of lanes) chart.setAttribute("viewBox", `0 0 ${this.seconds} 1`);
    this.track.replaceChildren(...lanes.map(({ node }) => node));
    this.#setProgress(frame.of ? `${frame.done} of ${frame.of} frames` : plural(frame.done, "frame"));
    if (this.moments.length && !this.shown) this.#showMoment(this.video.currentTime);
  }

  /** The parts of the timeline that a frame completes: `{from, until, when, result, shares}`, by default its own time. */
  #momentsOf(frame) {
    const { momentsOf, shares } = this.task;
    if (momentsOf) return momentsOf(frame, this.playground.card);
    const { time } = frame;
    return [{ from: time, until: time + this.step, when: `At ${time.toFixed(1)} s`, result: frame, shares: shares?.(frame) ?? [] }];
  }

  /** Draw a moment on the lanes, behind the one before. */
  #mark(moment) {
    const begin = Math.max(moment.from, this.moments.at(-1)?.until ?? 0);
    const seen = moment.shares.filter(([, share]) => share >= LEAST_SHARE);
    const marks = seen.map(([label, share]) => {
      const lane = this.#lane(label);
      lane.total += share;
      const mark = setStyle(svg("rect", { x: begin, y: 0, width: MARK_SHARE * (moment.until - begin), height: 1 }), { "--share": share });
      lane.chart.append(mark);
      return mark;
    });
    this.moments.push({ ...moment, begin, marks });
  }

  /** The last window of a temporal network stands for what comes after it too. */
  #extendLast() {
    const last = this.moments.at(-1);
    for (const mark of last.marks) mark.setAttribute("width", this.seconds - last.begin);
  }

  #finish({ summary, detail }) {
    this.#setProgress(`${plural(this.frames, "frame")} processed.${detail ? ` ${detail}` : ""}`);
    const { momentsOf, showSummary, overall } = this.task;
    if (!momentsOf) return;
    if (!this.moments.length) return this.#fill(showSummary(summary).nodes);
    this.#extendLast();
    if (this.moments.length === 1) return;
    this.overall = overall(summary);
    this.shown = null;
    this.#showMoment(Number(this.moment.value));
  }

  #lane(label) {
    if (!this.lanes.has(label)) {
      const chart = svg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
      const { fill, dashed } = this.playground.colors.of(label);
      const swatch = setStyle(el("i", { class: dashed ? "swatch dashed" : "swatch" }), { "--box": fill });
      const node = el("li", { class: "lane" }, el("span", {}, swatch, label), setStyle(chart, { "--box": fill }));
      this.lanes.set(label, { chart, node, total: 0 });
    }
    return this.lanes.get(label);
  }

  /** Show the result of the last moment that has begun at this time. */
  #showMoment(time) {
    if (!this.moments?.length || this.section.hidden) return;
    this.moment.value = time;
    setStyle(this.moment, { "--share": `${(time / this.seconds) * 100}%` });
    const moment = this.moments.findLast(({ from }) => from <= time + 1e-3) ?? this.moments[0];
    if (moment === this.shown) return;
    this.shown = moment;
    const { boxes, mask, options, colors, setThreshold } = this.playground;
    const { width, height } = this.#info;
    const result = { width, height, ...moment.result };
    const { nodes } = this.task.show(result, { boxes, mask, options, colors, setThreshold, card: this.playground.card });
    this.#fill([...nodes, el("p", { class: "note number" }, moment.when), this.overall && el("p", { class: "known quiet number" }, this.overall)]);
  }

  #fill(nodes) {
    const { panel } = this.playground;
    panel.replaceChildren(...nodes.filter(Boolean), curlOf(this.line));
    panel.setAttribute("aria-busy", "false");
  }

  #setProgress(text) {
    this.progress.textContent = text;
  }
}
