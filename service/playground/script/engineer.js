// For the engineer: panels that open on demand and follow the image and the model.

import { showCard } from "./card.js";
import { showComparison } from "./compare.js";
import { byId, el } from "./dom.js";
import { plainly } from "./failure.js";
import { showFolder } from "./folder.js";
import { showLatency } from "./latency.js";
import { Latest } from "./latest.js";
import { showRequest } from "./request.js";
import { showStages } from "./stages.js";
import { showTensors } from "./tensors.js";

/** `show(body, playground, signal)` fills a panel; `stays`: what is in it does not depend on the image. */
const PANELS = [
  { name: "The exact tensor", about: "what the network was fed, channel by channel", show: showTensors },
  { name: "Card and preprocessing", about: "what the model says of itself, in words", show: showCard },
  { name: "The network by stages", about: "how maps become smaller and more", show: showStages },
  { name: "Request and raw JSON", about: "every option of the task, and the answer as it is", show: showRequest },
  { name: "Two models side by side", about: "the same image, another model or version", show: showComparison },
  { name: "A folder of images", about: "a grid sorted by confidence or by error", show: showFolder, stays: true },
  { name: "Latency", about: "how long the requests of this page took", show: showLatency },
];

export class Engineer {
  constructor(playground) {
    this.playground = playground;
    this.section = byId("engineer");
    this.panels = PANELS.map((panel) => this.#panel(panel));
    byId("engineer-body").replaceChildren(...this.panels.map(({ node }) => node));
  }

  /** The image or the model is another one: fill the open panels again, the others when they are opened. */
  show() {
    this.section.hidden = false;
    for (const panel of this.panels) {
      if (!panel.stays) panel.filled = false;
      if (panel.node.open) this.#fill(panel);
    }
  }

  hide() {
    for (const { work, stays } of this.panels) if (!stays) work.cancel();
    this.section.hidden = true;
  }

  #panel({ name, about, show, stays }) {
    const body = el("div", { class: "panel detail" });
    const node = el("details", {}, el("summary", {}, el("b", {}, name), " ", el("span", { class: "quiet" }, about)), body);
    const panel = { node, body, show, stays, filled: false, work: new Latest() };
    node.addEventListener("toggle", () => node.open && this.#fill(panel));
    return panel;
  }

  async #fill(panel) {
    if (panel.filled) return;
    panel.filled = true;
    panel.body.setAttribute("aria-busy", "true");
    try {
      await panel.work.run((signal) => panel.show(panel.body, this.playground, signal));
    } catch (error) {
      panel.body.replaceChildren(el("p", { class: "lead quiet" }, plainly(error)));
    }
    panel.body.removeAttribute("aria-busy");
  }
}
