// Robustness: the curves of the probe. A button requests them, because they need many runs of the network.

import { curveOf } from "./curves.js";
import { byId, el } from "./dom.js";
import { failureOf } from "./failure.js";
import { Latest } from "./latest.js";
import { minus } from "./numbers.js";
import { taskOf } from "./results.js";
import { percent, title } from "./text.js";

const PERTURBATIONS = {
  rotation: ["Rotated", "degrees", { unit: "angle in degrees", marks: [-180, -90, 0, 90] }],
  scale: ["Scaled", "times", { unit: "size, 1 is unchanged", marks: [0.25, 0.5, 1, 2, 4], logarithmic: true }],
  blur: ["Blurred", "pixels", { unit: "blur in pixels, 0 is unchanged", marks: [0, 4, 8, 12] }],
  jpeg: ["Compressed", "JPEG quality", { unit: "JPEG quality, 100 is best", marks: [1, 25, 50, 75, 95] }],
  shuffle: ["Shuffled", "patches per side", { unit: "patches per side, 1 is unchanged", marks: [1, 2, 4, 8, 14], logarithmic: true }],
};

export class Probe {
  #work = new Latest();

  constructor(playground) {
    this.playground = playground;
    this.section = byId("probe");
    this.body = byId("probe-body");
  }

  /** Offer the test for a model, if it supports the model's task. */
  show(model) {
    this.section.hidden = !taskOf(model.card.task).probe;
    const button = el("button", { class: "button", type: "button" }, "Run the test");
    button.addEventListener("click", () => {
      button.disabled = true;
      button.textContent = "Running …";
      this.#run();
    });
    this.body.replaceChildren(button);
  }

  hide() {
    this.#work.cancel();
    this.section.hidden = true;
  }

  async #run() {
    try {
      const response = await this.#work.run((signal) => this.playground.explain("probe", {}, signal));
      if (response) this.#draw(response.answer);
    } catch (error) {
      this.body.replaceChildren(failureOf(error, () => this.#run()));
    }
  }

  #draw({ target, curves, texture, shape }) {
    const charts = curves.map(({ perturbation, points }) => {
      const [name, unit, axis] = PERTURBATIONS[perturbation] ?? [title(perturbation), "", { unit: "", marks: [] }];
      return curveOf(
        name,
        axis,
        points.map(({ amount, probability, top }) => ({
          at: amount,
          share: probability,
          kept: top === target.label,
          text: `${minus(amount)} ${unit}: ${percent(probability)}${top === target.label ? "" : `; top class: ${top}`}`,
        })),
      );
    });
    const parts = [
      `Upward: the probability of ${target.label}, which is ${percent(target.probability)} for the unchanged image. Across: how much the image is changed.`,
      "A hollow dot means that another class has a higher probability.",
      texture !== null && shape !== null
        ? `The probability is ${percent(texture)} with shuffled patches and ${percent(shape)} for the silhouette alone.`
        : "",
    ];
    this.body.replaceChildren(
      el("div", { class: "detail" },
        el("p", { class: "lead" }, parts.filter(Boolean).join(" ")),
        el("div", { class: "curves" }, ...charts)),
    );
  }
}
