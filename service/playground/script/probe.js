// Under strain: the probe's curves, asked for by a button, for it runs the network many times.

import { curveOf } from "./curves.js";
import { byId, el } from "./dom.js";
import { Latest } from "./latest.js";
import { percent } from "./text.js";
import { troubleOf } from "./trouble.js";

const NAMES = {
  rotation: ["Turned", "degrees"],
  scale: ["Scaled", "factor"],
  blur: ["Blurred", "pixels"],
  jpeg: ["Compressed", "JPEG quality"],
  shuffle: ["Shuffled", "patches a side"],
};

export class Probe {
  #work = new Latest();

  constructor(bench) {
    this.bench = bench;
    this.section = byId("probe");
    this.body = byId("probe-body");
  }

  about(model) {
    this.section.hidden = model.card.task !== "classify";
    const button = el("button", { class: "button", type: "button" }, "Strain it");
    button.addEventListener("click", () => {
      button.disabled = true;
      button.textContent = "Straining …";
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
      const told = await this.#work.run((signal) => this.bench.explain("probe", {}, signal));
      if (told) this.#show(told.answer);
    } catch (error) {
      this.body.replaceChildren(troubleOf(error, () => this.#run()));
    }
  }

  #show({ target, curves, texture, shape }) {
    const charts = curves.map(({ perturbation, points }) => {
      const [name, unit] = NAMES[perturbation] ?? [perturbation, ""];
      return curveOf(
        name,
        unit,
        points.map(({ amount, probability, top }) => ({
          at: amount,
          share: probability,
          held: top === target.label,
          said: `${amount} ${unit}: ${percent(probability)}${top === target.label ? "" : `, rather ${top}`}`,
        })),
      );
    });
    const share = texture === null || shape === null ? "" : ` With its parts shuffled, ${percent(texture)} is left; of its silhouette alone, ${percent(shape)}.`;
    this.body.replaceChildren(
      el("div", { class: "detail" },
        el("p", { class: "lead" }, `How sure the network stays of ${target.label}, which it began with at ${percent(target.probability)}. A hollow dot: something else came first.${share}`),
        el("div", { class: "curves" }, ...charts)),
    );
  }
}
