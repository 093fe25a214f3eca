// The page: an image and a model in, a result out, and explanations of that result.

import { isAbort, post } from "./api.js";
import { Boxes } from "./boxes.js";
import { costOf, curlLine, curlOf } from "./cost.js";
import { byId, el } from "./dom.js";
import { Engineer } from "./engineer.js";
import { Evidence } from "./evidence.js";
import { failureOf } from "./failure.js";
import { Favorites } from "./favorites.js";
import { Gallery } from "./gallery.js";
import { HeatLayer } from "./heat.js";
import { How } from "./how.js";
import { ImageView } from "./image.js";
import { listenForFiles } from "./input.js";
import { keyForm, needsKey, showAccess } from "./key.js";
import { Latest } from "./latest.js";
import { Mask } from "./mask.js";
import { awaitModels, Choice } from "./models.js";
import { Probe } from "./probe.js";
import { taskOf } from "./results.js";
import { Strip } from "./strip.js";
import { ms, plural } from "./text.js";
import { VideoTimeline } from "./video.js";

class Playground {
  options = { threshold: 0.3 };
  image = null;
  model = null;
  result = null;
  #results = new Latest();
  #heats = new Latest();

  constructor() {
    this.panel = byId("result");
    this.view = new ImageView();
    this.boxes = new Boxes();
    this.mask = new Mask();
    this.heat = new HeatLayer();
    this.strip = new Strip(this);
    this.gallery = new Gallery();
    this.how = new How(this);
    this.favorites = new Favorites(this);
    this.evidence = new Evidence(this);
    this.engineer = new Engineer(this);
    this.probe = new Probe(this);
    this.timeline = new VideoTimeline(this);
    this.choice = new Choice((model) => {
      this.model = model;
      this.#predict({ fresh: true });
    });
    listenForFiles((file) => this.open(file), (error) => this.fail(error));
    this.#showPlaceholder();
    this.load();
  }

  async load() {
    const line = byId("service");
    try {
      const models = await awaitModels((listed) => {
        const ready = listed.filter((model) => model.state === "ready").length;
        line.textContent = ready === listed.length ? `${plural(ready, "model")} ready` : `${ready} of ${plural(listed.length, "model")} ready`;
      });
      showAccess(() => this.#askAgain());
      this.choice.show(models);
      if (!models.length) this.fail({ title: "There is no model yet", message: "Put a model into the model repository, then restart the service.", code: "no_models" });
    } catch (error) {
      line.textContent = "";
      this.fail(error, () => this.load());
    }
  }

  /** Show an image or a video and request its result. */
  open(image) {
    this.image = image;
    this.gallery.add(image);
    byId("announcement").textContent = "";
    this.#clear();
    this.timeline.hide();
    this.isVideo = image.blob.type.startsWith("video/");
    if (this.isVideo) this.view.makeRoomForVideo();
    else this.view.show(image);
    this.#predict({ fresh: true });
  }

  /** The image and the model that the next request uses. */
  current() {
    return { image: this.image, model: this.model };
  }

  setThreshold = (threshold) => {
    this.options.threshold = threshold;
    this.#predict({ fresh: false });
  };

  /** Show which pixels support the selected class, thing or area; null removes the heat map. */
  select = async (index) => {
    if (!this.result) return;
    this.rows.select(index);
    this.heat.hide();
    this.#setLayerVisible(index === null);
    this.strip.showHeat(null);
    this.#heats.cancel();
    if (index === null) return this.#note(this.hint);
    const task = taskOf(this.model.card.task);
    const name = task.nameOf(this.result, index);
    this.#note(`Computing the heat map of ${name} …`);
    try {
      const explained = await this.#heats.run((signal) =>
        this.explain("cam", { ...task.target(this.result, index), score: false }, signal),
      );
      if (!explained) return;
      this.showHeat(explained.answer);
      this.strip.showHeat(explained.answer);
      this.#note(`Hot pixels support ${name}. ${METHODS[explained.answer.method] ?? ""} ${ms(explained.timing.total)}.`);
      byId("announcement").textContent = `The heat map shows which pixels support ${name}`;
    } catch (error) {
      this.#note(error.message);
    }
  };

  /** Request `POST /v1/explain` for the image and the model. */
  explain(view, query, signal) {
    const { name, version } = this.model;
    return post("v1/explain", this.image.blob, { view, model: name, version, ...query }, signal);
  }

  /** The user has named a channel, or renamed it. */
  wordsChanged() {
    this.evidence.wordsChanged();
  }

  showHeat({ heat, width, height }) {
    this.#setLayerVisible(false);
    this.heat.show(heat, { width, height });
  }

  fail(error, retry) {
    if (isAbort(error)) return;
    this.panel.setAttribute("aria-busy", "false");
    if (needsKey(error)) this.#askForKey(error, retry);
    else this.panel.replaceChildren(failureOf(error, retry));
  }

  #askForKey(error, retry) {
    byId("access").hidden = true;
    const form = keyForm(error, () => {
      this.#showPlaceholder();
      if (!this.model || !retry) return this.load();
      showAccess(() => this.#askAgain());
      return retry();
    });
    this.panel.replaceChildren(form);
  }

  /** The key is forgotten: show what the service says to that. */
  #askAgain() {
    this.#clear();
    this.#showPlaceholder();
    this.load();
  }

  async #predict({ fresh }) {
    if (!this.image || !this.model) return;
    if (this.isVideo) return this.#watch();
    const { image, model } = this;
    this.#heats.cancel();
    if (fresh) this.#clear();
    if (!model.card.input) return this.#showText("This model reads videos. Choose a video to see its result.");
    const path = `v1/${model.card.task}`;
    const query = { model: model.name, ...taskOf(model.card.task).query(this.options) };
    this.#showWaiting();
    try {
      const response = await this.#results.run((signal) => post(path, image.blob, query, signal));
      if (!response) return;
      this.#show(response.answer.results[0], response.timing, curlLine(image, path, query));
      if (fresh && !taskOf(model.card.task).isChain) {
        this.strip.show(model);
        this.how.show();
        this.favorites.show(model);
        this.evidence.show(model, this.result.predictions);
        this.engineer.show();
        this.probe.show(model);
      }
    } catch (error) {
      this.fail(error, () => this.#predict({ fresh }));
    }
  }

  async #watch() {
    this.#clear();
    this.#showWaiting();
    try {
      await this.timeline.run();
    } catch (error) {
      this.fail(error, () => this.#watch());
    }
  }

  #show(result, timing, line) {
    this.#clearLayers();
    this.result = result;
    const shown = taskOf(this.model.card.task).show(result, this);
    this.rows = shown.rows;
    this.hint = shown.hint;
    this.note = el("p", { class: "note" }, shown.hint);
    const list = shown.nodes.filter(Boolean);
    this.panel.replaceChildren(...list, this.note, costOf(this.model, timing), curlOf(line));
    this.panel.setAttribute("aria-busy", "false");
    byId("announcement").textContent = `${shown.announcement}. ${ms(timing.total)}.`;
  }

  /** Show or hide the task's own layer; the image has one layer at a time, this one or the heat map. */
  #setLayerVisible(visible) {
    const { layer } = taskOf(this.model.card.task);
    if (layer) this[layer].setVisible(visible);
  }

  #note(text) {
    this.note.textContent = text;
  }

  #clearLayers() {
    this.boxes.hide();
    this.mask.hide();
    this.heat.hide();
  }

  #clear() {
    this.#results.cancel();
    this.#heats.cancel();
    this.result = null;
    this.#clearLayers();
    this.strip.hide();
    this.how.hide();
    this.favorites.hide();
    this.evidence.hide();
    this.engineer.hide();
    this.probe.hide();
  }

  #showWaiting() {
    this.panel.setAttribute("aria-busy", "true");
    if (this.panel.querySelector(".headline") && !this.panel.querySelector(".failure")) return;
    const line = () => el("div", { class: "skeleton line" });
    this.panel.replaceChildren(el("div", { class: "skeleton tall" }), el("div", {}, line(), line(), line(), line(), line()));
  }

  #showPlaceholder() {
    this.#showText("The result appears here: what is in the image, where it is, and which pixels support it.");
  }

  #showText(text) {
    this.panel.setAttribute("aria-busy", "false");
    this.panel.replaceChildren(el("p", { class: "placeholder" }, text));
  }
}

const METHODS = {
  cam: "Method: exact class activation map.",
  eigencam: "Method: EigenCAM, which shows what stands out, for any class.",
  rise: "Method: RISE, which hides random parts of the image.",
};

new Playground();
