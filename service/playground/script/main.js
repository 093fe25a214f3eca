// The page put together: an image and a model in, an answer out, and everything that may be asked about it.

import { ANSWERS } from "./answers.js";
import { isAbort, post } from "./api.js";
import { Boxes } from "./boxes.js";
import { Clip } from "./clip.js";
import { costOf, curlLine, curlOf } from "./cost.js";
import { byId, el } from "./dom.js";
import { HeatLayer } from "./heat.js";
import { takeImages } from "./intake.js";
import { Latest } from "./latest.js";
import { Mask } from "./mask.js";
import { awaitModels, Choice } from "./models.js";
import { ImageView } from "./image.js";
import { Probe } from "./probe.js";
import { Strip } from "./strip.js";
import { ms, plural } from "./text.js";
import { troubleOf } from "./trouble.js";

class Playground {
  options = { threshold: 0.3 };
  image = null;
  model = null;
  result = null;
  #answers = new Latest();
  #heats = new Latest();

  constructor() {
    this.panel = byId("answer");
    this.view = new ImageView();
    this.boxes = new Boxes();
    this.mask = new Mask();
    this.heat = new HeatLayer();
    this.strip = new Strip(this);
    this.probe = new Probe(this);
    this.clip = new Clip(this);
    this.choice = new Choice((model) => {
      this.model = model;
      this.#answer({ fresh: true });
    });
    takeImages((taken) => this.take(taken), (error) => this.fail(error));
    this.#promise();
    this.load();
  }

  async load() {
    const line = byId("service");
    try {
      const models = await awaitModels((seen) => {
        const ready = seen.filter((model) => model.state === "ready").length;
        line.textContent = ready === seen.length ? `${plural(ready, "model")} ready` : `${ready} of ${plural(seen.length, "model")} ready`;
      });
      this.choice.show(models);
      if (!models.length) this.fail({ title: "There is no model yet", message: "Put one into the model repository, then start the service again.", code: "no_models" });
    } catch (error) {
      line.textContent = "";
      this.fail(error, () => this.load());
    }
  }

  take(image) {
    this.image = image;
    byId("spoken").textContent = "";
    this.#forget();
    this.clip.hide();
    this.moving = image.blob.type.startsWith("video/");
    if (this.moving) this.view.yieldToClip();
    else this.view.show(image);
    this.#answer({ fresh: true });
  }

  /** What the next question is about. */
  asked() {
    return { image: this.image, model: this.model };
  }

  setThreshold = (threshold) => {
    this.options.threshold = threshold;
    this.#answer({ fresh: false });
  };

  /** Show which places speak for the picked class, thing or area; null takes the heat away. */
  pick = async (index) => {
    if (!this.result) return;
    this.rows.press(index);
    this.heat.hide();
    this.#overlay(index === null);
    this.strip.showHeat(null);
    this.#heats.cancel();
    if (index === null) return this.#say(this.hint);
    const { task } = this.model.card;
    const name = ANSWERS[task].named(this.result, index);
    this.#say(`Looking for what speaks for ${name} …`);
    try {
      const explained = await this.#heats.run((signal) =>
        this.explain("cam", { ...ANSWERS[task].subject(this.result, index), score: false }, signal),
      );
      if (!explained) return;
      this.showHeat(explained.answer);
      this.strip.showHeat(explained.answer);
      this.#say(`Hot: what speaks for ${name}. ${HOW[explained.answer.method] ?? ""} ${ms(explained.timing.total)}.`);
      byId("spoken").textContent = `The heat shows what speaks for ${name}`;
    } catch (error) {
      this.#say(error.message);
    }
  };

  /** Ask `POST /v1/explain` about the image and the model. */
  explain(view, query, signal) {
    const { name, version } = this.model;
    return post("v1/explain", this.image.blob, { view, model: name, version, ...query }, signal);
  }

  showHeat({ heat, width, height }) {
    this.#overlay(false);
    this.heat.show(heat, { width, height });
  }

  fail(error, again) {
    if (isAbort(error)) return;
    this.panel.setAttribute("aria-busy", "false");
    this.panel.replaceChildren(troubleOf(error, again));
  }

  async #answer({ fresh }) {
    if (!this.image || !this.model) return;
    if (this.moving) return this.#watch();
    const { image, model } = this;
    const { task } = model.card;
    const path = `v1/${task}`;
    const query = { model: model.name, ...ANSWERS[task].query(this.options) };
    this.#heats.cancel();
    if (fresh) this.#forget();
    this.#wait();
    try {
      const told = await this.#answers.run((signal) => post(path, image.blob, query, signal));
      if (!told) return;
      this.#show(told.answer.results[0], told.timing, curlLine(image, path, query));
      if (fresh) {
        this.strip.about(model, this.result);
        this.probe.about(model);
      }
    } catch (error) {
      this.fail(error, () => this.#answer({ fresh }));
    }
  }

  async #watch() {
    this.#forget();
    this.#wait();
    try {
      await this.clip.run();
    } catch (error) {
      this.fail(error, () => this.#watch());
    }
  }

  #show(result, timing, line) {
    this.#clearLayers();
    this.result = result;
    const shown = ANSWERS[this.model.card.task].show(result, this);
    this.rows = shown.rows;
    this.hint = shown.hint;
    this.note = el("p", { class: "note" }, shown.hint);
    const list = shown.nodes.filter(Boolean);
    this.panel.replaceChildren(...list, this.note, costOf(this.model, timing), curlOf(line));
    this.panel.setAttribute("aria-busy", "false");
    byId("spoken").textContent = `${shown.spoken}. ${ms(timing.total)}.`;
  }

  /** One layer at a time over the image: the answer's own, or the heat. */
  #overlay(own) {
    const { task } = this.model.card;
    this.boxes.layer.hidden = !own || task !== "detect";
    this.mask.canvas.hidden = !own || task !== "segment";
  }

  #say(text) {
    this.note.textContent = text;
  }

  #clearLayers() {
    this.boxes.hide();
    this.mask.hide();
    this.heat.hide();
  }

  #forget() {
    this.#answers.cancel();
    this.#heats.cancel();
    this.result = null;
    this.#clearLayers();
    this.strip.hide();
    this.probe.hide();
  }

  #wait() {
    this.panel.setAttribute("aria-busy", "true");
    if (this.panel.querySelector(".headline") && !this.panel.querySelector(".trouble")) return;
    const line = () => el("div", { class: "skeleton line" });
    this.panel.replaceChildren(el("div", { class: "skeleton tall" }), el("div", {}, line(), line(), line(), line(), line()));
  }

  #promise() {
    this.panel.replaceChildren(
      el("p", { class: "promise" }, "Its class, what is in it and where, and what made the network think so appear here."),
    );
  }
}

const HOW = {
  cam: "Exact, from the maps the class is summed from.",
  eigencam: "What stands out, whichever the class.",
  rise: "Measured by hiding parts of the image.",
};

new Playground();
