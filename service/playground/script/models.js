// The served models, and the controls that choose one.

import { ask } from "./api.js";
import { byId, el } from "./dom.js";
import { DRAWN_TASKS } from "./results.js";
import { title } from "./text.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

/** Whether a version answers: `asleep` is loaded by its next request. */
export const answers = (model) => model.state === "ready" || model.state === "asleep";

/** Resolve to the served models when none is loading any more; `onProgress(models, notServed)` gets each list on the way. */
export async function awaitModels(onProgress) {
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    const { models, chains = [], not_served: notServed = [] } = await (await ask("v1/models")).json();
    onProgress(models, notServed);
    if (models.every((model) => model.state === "ready" || model.reason)) return [...models, ...chains.map(asModel)];
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/** A chain as the page shows it: like a model that reads images, without a version and without a network of its own. */
const asModel = (chain) => ({ ...chain, version: 1, card: { task: "chain", title: chain.title, input: {} } });

/** The versions of the models of a task: the task's default first, the newest version of each model first. */
function modelsOf(models, task) {
  const versions = models.filter((each) => each.card.task === task);
  return versions.sort((a, b) => b.default - a.default || (a.name < b.name ? -1 : a.name > b.name ? 1 : b.version - a.version));
}

/** What selects a version in a request: its name where the model has no other. */
function selectorOf(model, models) {
  const alone = models.every((each) => each.name !== model.name || each.version === model.version);
  return alone ? model.name : `${model.name}:${model.version}`;
}

function labelOf(model, models) {
  const version = selectorOf(model, models) === model.name ? [] : [`version ${model.version}`];
  const label = [model.card.title, ...version, ...(model.aliases ?? []).map((alias) => `@${alias}`)].join(", ");
  return model.state === "ready" ? label : `${label} (${model.state})`;
}

/** Draws the tasks as radio buttons and the models of a task as a list. `onChoice(model)` gets every choice. */
export class Choice {
  constructor(onChoice) {
    this.onChoice = onChoice;
    this.models = [];
    this.radios = [];
    this.select = byId("model");
    this.select.addEventListener("change", () => this.#report());
    byId("choice").addEventListener("submit", (event) => event.preventDefault());
    for (const task of DRAWN_TASKS) this.#addTask(task);
  }

  /** Offer the tasks of these models, also tasks that this page does not know, and choose what `wanted` names. */
  show(models, wanted) {
    this.models = models;
    const known = new Set(this.radios.map((radio) => radio.value));
    const others = new Set(models.map((model) => model.card.task).filter((task) => !known.has(task)));
    for (const task of [...others].sort()) this.#addTask(task);
    for (const radio of this.radios) radio.disabled = !modelsOf(models, radio.value).length;
    this.choose(wanted);
  }

  /** Choose `{task, model}` as far as they are served, else what is chosen already, else the first. */
  choose({ task, model } = {}) {
    const open = this.radios.filter((radio) => !radio.disabled);
    const first = open.find((radio) => radio.value === task) ?? open.find((radio) => radio.checked) ?? open[0];
    if (!first) return;
    first.checked = true;
    this.#list(first.value, model);
    this.#showInLine(first.parentElement);
  }

  /** On a phone the tasks may be a line that scrolls. */
  #showInLine(label) {
    const line = byId("tasks");
    line.scrollLeft = label.offsetLeft - (line.clientWidth - label.offsetWidth) / 2;
  }

  #addTask(task) {
    const radio = el("input", { type: "radio", name: "task", value: task, disabled: true });
    radio.addEventListener("change", () => this.#list(task));
    byId("tasks").append(el("label", {}, radio, el("span", {}, title(task))));
    this.radios.push(radio);
  }

  #list(task, wanted) {
    const options = modelsOf(this.models, task).map((model) =>
      el(
        "option",
        { value: selectorOf(model, this.models), disabled: !answers(model) },
        labelOf(model, this.models),
      ),
    );
    this.select.replaceChildren(...options);
    const usable = options.filter((option) => !option.disabled);
    const ready = usable.find((option) => option.value === wanted) ?? usable[0];
    this.select.disabled = !ready;
    if (ready) ready.selected = true;
    this.#report();
  }

  #report() {
    const model = this.models.find((each) => selectorOf(each, this.models) === this.select.value && answers(each));
    if (model) this.onChoice({ ...model, selector: this.select.value });
  }
}
