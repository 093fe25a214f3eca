// Which models there are, and the controls that choose among them.

import { ask } from "./api.js";
import { byId, el } from "./dom.js";

export const TASKS = { classify: "Classify", detect: "Detect", segment: "Segment" };
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

/** Resolve to the served models when none is loading any more; `told(models)` hears of each look. */
export async function awaitModels(told) {
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    const { models } = await (await ask("v1/models")).json();
    told(models);
    if (models.every((model) => model.state === "ready" || model.reason)) return models;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/** The newest version of each model of a task, the task's default first. */
export function modelsOf(models, task) {
  const newest = new Map();
  for (const model of models.filter((each) => each.card.task === task)) {
    if (model.version > (newest.get(model.name)?.version ?? 0)) newest.set(model.name, model);
  }
  return [...newest.values()].sort((a, b) => b.default - a.default);
}

/** Draw the tasks as radio buttons and the task's models as a list; `chosen(model)` hears every choice. */
export class Choice {
  constructor(chosen) {
    this.chosen = chosen;
    this.models = [];
    this.select = byId("model");
    this.select.addEventListener("change", () => this.#tell());
    byId("choice").addEventListener("submit", (event) => event.preventDefault());
    for (const [task, name] of Object.entries(TASKS)) {
      const radio = el("input", { type: "radio", name: "task", value: task, disabled: true });
      radio.addEventListener("change", () => this.#list(task));
      byId("tasks").append(el("label", {}, radio, el("span", {}, name)));
    }
  }

  show(models) {
    this.models = models;
    const radios = [...byId("tasks").querySelectorAll("input")];
    for (const radio of radios) radio.disabled = !modelsOf(models, radio.value).length;
    const first = radios.find((radio) => radio.checked) ?? radios.find((radio) => !radio.disabled);
    if (!first) return;
    first.checked = true;
    this.#list(first.value);
  }

  #list(task) {
    const options = modelsOf(this.models, task).map((model) =>
      el(
        "option",
        { value: model.name, disabled: model.state !== "ready" },
        model.state === "ready" ? model.card.title : `${model.card.title} (${model.state})`,
      ),
    );
    this.select.replaceChildren(...options);
    const ready = options.find((option) => !option.disabled);
    this.select.disabled = !ready;
    if (ready) ready.selected = true;
    this.#tell();
  }

  #tell() {
    const model = this.models.find((each) => each.name === this.select.value && each.state === "ready");
    if (model) this.chosen(modelsOf(this.models, model.card.task).find((each) => each.name === model.name));
  }
}
