// The camera's image with its result, frame by frame: a frame is sent when the result of the one before has come.

import { post } from "./api.js";
import { Camera, hasCamera } from "./camera.js";
import { costOf } from "./cost.js";
import { byId, setStyle } from "./dom.js";
import { Latest } from "./latest.js";
import { taskOf } from "./results.js";

export class LiveView {
  #work = new Latest();
  #frame = null;
  #tools = null;
  #quiet = false;
  #turn = 0;

  constructor(playground) {
    this.playground = playground;
    this.camera = new Camera(() => this.#ended());
    this.button = byId("live");
    this.button.hidden = !hasCamera();
    this.button.addEventListener("click", () => (this.running ? this.camera.stop() : this.start()));
  }

  get running() {
    return this.camera.running;
  }

  get size() {
    return this.camera.size;
  }

  async start() {
    const { playground } = this;
    this.#frame = null;
    const turn = ++this.#turn;
    playground.beginLive();
    this.button.disabled = true;
    try {
      await this.camera.start().finally(() => (this.button.disabled = false));
      // While the browser asked for permission, the user may have opened something else.
      if (turn !== this.#turn) return this.stop();
      if (!this.running) return;
      this.button.textContent = "Stop the camera";
      setStyle(byId("image"), { "--aspect": this.size.width / this.size.height });
      playground.showCrop();
      await this.#work.run((signal) => this.#watch(signal));
    } catch (error) {
      if (turn !== this.#turn) return;
      this.stop();
      playground.fail(error.code ? error : { title: "There is no live image", message: error.message, code: "no_camera" }, () => this.start());
    }
  }

  /** End without a result: the caller shows something else. */
  stop() {
    this.#turn++;
    this.#quiet = true;
    this.camera.stop();
    this.#quiet = false;
  }

  /** The camera is off: its last frame stays, like any other image; without one, the image from before is back. */
  #ended() {
    this.#work.cancel();
    this.button.textContent = "Use the camera";
    this.#tools = null;
    if (this.#quiet) return;
    const { image } = this.playground.current();
    const last = this.#frame && { blob: this.#frame, name: "camera.jpg", alt: "The last frame of your camera" };
    if (last ?? image) this.playground.open(last ?? image);
  }

  async #watch(signal) {
    while (!signal.aborted) {
      const frame = await this.camera.frame();
      if (signal.aborted || !frame) return;
      const { model, options } = this.playground;
      const task = taskOf(model.card.task);
      if (!model.card.input) throw new Error("This model reads whole videos. Choose another model, then try again.");
      const response = await post(`v1/${model.card.task}`, frame, { model: model.selector, ...task.query(options) }, signal);
      if (signal.aborted) return;
      this.#frame = frame;
      if (model === this.playground.model) this.#show(task, model, response);
    }
  }

  #show(task, model, { answer, timing }) {
    const { boxes, mask, colors, options, panel } = this.playground;
    const setThreshold = (threshold) => (options.threshold = threshold);
    const { nodes } = task.show(answer.results[0], { boxes, mask, colors, options, setThreshold, card: model.card });
    panel.replaceChildren(...this.#keepTools(nodes, model), costOf(model, timing));
    panel.setAttribute("aria-busy", "false");
  }

  /** The sliders stay the same elements from frame to frame, so that they can be dragged. */
  #keepTools(nodes, model) {
    const isTools = (node) => node?.classList?.contains("tools");
    if (this.#tools?.model !== model) this.#tools = { model, node: nodes.find(isTools) };
    return nodes.map((node) => (isTools(node) ? this.#tools.node : node)).filter(Boolean);
  }
}
