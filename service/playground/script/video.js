// A video: its results on a timeline as they arrive, and each frame's boxes and masks over the video.

import { lines } from "./api.js";
import { curlOf, curlLineOfVideo } from "./cost.js";
import { byId, el, setStyle, svg } from "./dom.js";
import { Latest } from "./latest.js";
import { taskOf } from "./results.js";
import { plural } from "./text.js";

const PATH = "v1/video";
const FPS = 2;
const LANES = 6;
/** Share of a frame's time that its mark fills on a lane; the rest separates frames. */
const MARK_SHARE = 0.94;
const LEAST_SHARE = 0.05;

export class VideoTimeline {
  #work = new Latest();
  #url = null;

  constructor(playground) {
    this.playground = playground;
    this.section = byId("timeline");
    this.body = byId("timeline-body");
    this.video = byId("video");
    this.video.addEventListener("timeupdate", () => this.#showMoment(this.video.currentTime));
  }

  hide() {
    this.#work.cancel();
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
    this.#open(image);
    this.#work.cancel();
    Object.assign(this, { task, frames: [], lanes: new Map(), shown: null, line: curlLineOfVideo(image, PATH, query) });
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
    this.info = info;
    this.seconds = info.seconds ?? 1 / FPS;
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
    this.frames.push(frame);
    this.seconds = Math.max(this.seconds, frame.time + 1 / FPS);
    this.moment.max = this.seconds;
    for (const [label, share] of this.task.shares?.(frame) ?? []) {
      if (share < LEAST_SHARE) continue;
      const lane = this.#lane(label);
      lane.total += share;
      lane.chart.append(
        setStyle(svg("rect", { x: frame.time, y: 0, width: MARK_SHARE / FPS, height: 1 }), { "--share": share }),
      );
    }
    const lanes = [...this.lanes.values()].sort((a, b) => b.total - a.total).slice(0, LANES);
    for (const { chart } of lanes) chart.setAttribute("viewBox", `0 0 ${this.seconds} 1`);
    this.track.replaceChildren(...lanes.map(({ node }) => node));
    this.#setProgress(frame.of ? `${frame.done} of ${frame.of} frames` : plural(frame.done, "frame"));
    if (this.frames.length === 1) this.#showMoment(0);
  }

  #finish({ summary, detail }) {
    this.#setProgress(`${plural(this.frames.length, "frame")} processed.${detail ? ` ${detail}` : ""}`);
    const { showSummary } = this.task;
    if (!showSummary) return;
    const { options, card } = this.playground;
    this.#fill(showSummary(summary, { options, card }).nodes);
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

  /** Show the result of the last frame at or before this time. */
  #showMoment(time) {
    if (!this.frames?.length || this.section.hidden) return;
    this.moment.value = time;
    setStyle(this.moment, { "--share": `${(time / this.seconds) * 100}%` });
    const frame = this.frames.findLast((each) => each.time <= time + 1e-3) ?? this.frames[0];
    if (frame === this.shown) return;
    this.shown = frame;
    const { boxes, mask, options, colors, setThreshold } = this.playground;
    const { width, height } = this.info;
    const result = { width, height, ...frame };
    const { nodes } = this.task.show(result, { boxes, mask, options, colors, setThreshold, card: this.playground.card });
    this.#fill([...nodes, el("p", { class: "note number" }, `At ${frame.time.toFixed(1)} s`)]);
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
