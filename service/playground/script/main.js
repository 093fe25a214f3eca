// The page: an image and a model in, a result out, and explanations of that result.

import { listenForHistory, readAddress, writeAddress } from "./address.js";
import { isAbort, post } from "./api.js";
import { Boxes } from "./boxes.js";
import { ClassColors } from "./colors.js";
import { costOf, curlLine, curlOf } from "./cost.js";
import { Crop } from "./crop.js";
import { byId, el } from "./dom.js";
import { Engineer } from "./engineer.js";
import { Evidence } from "./evidence.js";
import { failureOf } from "./failure.js";
import { Favorites } from "./favorites.js";
import { Gallery } from "./gallery.js";
import { HeatLayer } from "./heat.js";
import { How } from "./how.js";
import { ImageView } from "./image.js";
import { Files, VIDEO_SAMPLE } from "./input.js";
import { keyForm, needsKey, showAccess } from "./key.js";
import { Latest } from "./latest.js";
import { LiveView } from "./live.js";
import { Mask, OPACITY } from "./mask.js";
import { answers, awaitModels, Choice } from "./models.js";
import { patiently } from "./patience.js";
import { Probe } from "./probe.js";
import { heatStages, LATE, noteOf } from "./refine.js";
import { taskOf } from "./results.js";
import { savesOf } from "./saves.js";
import { Strip } from "./strip.js";
import { ms, plural } from "./text.js";
import { VideoTimeline } from "./video.js";

const THRESHOLD = 0.3;

class Playground {
  options = { threshold: THRESHOLD };
  colors = new ClassColors();
  image = null;
  model = null;
  result = null;
  #results = new Latest();
  #heats = new Latest();
  /** The sample image in whose place the sample video came, because the model reads videos only. */
  #before = null;

  constructor() {
    this.panel = byId("result");
    this.view = new ImageView();
    this.boxes = new Boxes();
    this.mask = new Mask();
    this.heat = new HeatLayer();
    this.crop = new Crop();
    this.strip = new Strip(this);
    this.gallery = new Gallery();
    this.how = new How(this);
    this.favorites = new Favorites(this);
    this.evidence = new Evidence(this);
    this.engineer = new Engineer(this);
    this.probe = new Probe(this);
    this.sections = [this.strip, this.how, this.favorites, this.evidence, this.engineer, this.probe];
    this.timeline = new VideoTimeline(this);
    this.live = new LiveView(this);
    this.choice = new Choice((model) => this.#choose(model));
    this.files = new Files((file) => this.open(file), (error) => this.fail(error));
    listenForHistory((state, own) => this.#goTo(state, own));
    this.#showPlaceholder();
    this.load();
  }

  get card() {
    return this.model.card;
  }

  async load() {
    const line = byId("service");
    try {
      const models = await awaitModels((listed, notServed) => {
        const names = new Set(listed.map((model) => model.name));
        const ready = new Set(listed.filter(answers).map((model) => model.name)).size;
        line.textContent = ready === names.size ? `${plural(ready, "model")} ready` : `${ready} of ${plural(names.size, "model")} ready`;
        line.title = notServed.map((one) => `${one.name} version ${one.version} ${one.reason}`).join("\n");
      });
      showAccess(() => this.#askAgain());
      this.#goTo(readAddress(), false, models);
      if (!models.length) this.fail({ title: "There is no model yet", message: "Put a model into the model repository, then run foveal reload, or restart the service.", code: "no_models" });
    } catch (error) {
      line.textContent = "";
      this.fail(error, () => this.load());
    }
  }

  /** Show an image or a video and request its result. */
  open(image) {
    this.live.stop();
    this.image = image;
    if (image.sample !== VIDEO_SAMPLE) this.#before = null;
    if (!image.path) this.own = image;
    this.files.mark(image.sample);
    this.#writeAddress();
    this.gallery.add(image);
    byId("announcement").textContent = "";
    this.#clear();
    this.timeline.hide();
    this.isVideo = image.blob.type.startsWith("video/");
    if (this.isVideo) {
      this.view.makeRoomForVideo();
      this.showCrop();
    } else this.view.show(image).then(() => this.showCrop());
    this.#predict({ fresh: true });
  }

  /** Make room for the camera's live image. */
  beginLive() {
    this.#clear();
    this.timeline.hide();
    this.files.mark();
    this.view.makeRoomForVideo();
    this.crop.hide();
    this.#showWaiting();
  }

  /** The image and the model that the next request uses. */
  current() {
    return { image: this.image, model: this.model };
  }

  setThreshold = (threshold) => {
    this.options.threshold = threshold;
    this.#writeAddress();
    this.#predict({ fresh: false });
  };

  /** Write what was chosen into the address. */
  keepOptions = () => this.#writeAddress();

  /** Show which pixels support the selected class, thing or area; null removes the heat map. */
  select = async (index) => {
    if (!this.result) return;
    this.rows.select(index);
    this.selected = index;
    this.heat.hide();
    this.crop.setLegend(false);
    this.crop.setStrong(false);
    this.#setLayerVisible(index === null);
    this.strip.showHeat(null);
    this.#heats.cancel();
    if (index === null) return this.#note(this.hint);
    const task = taskOf(this.model.card.task);
    const name = task.nameOf(this.result, index);
    this.#note(`Computing the heat map of ${name} …`);
    try {
      await this.#heats.run((signal) => this.#refine(task.target(this.result, index), name, signal));
    } catch (error) {
      this.#note(error.message);
    }
  };

  /** Show a heat map at once, and each finer one when it arrives, until `signal` aborts. */
  async #refine(target, name, signal) {
    const explain = (view, query, timeoutMs) => this.explain(view, query, signal, timeoutMs);
    for await (const stage of heatStages(this.card, target, explain)) {
      if (signal.aborted) return;
      this.showHeat(stage.answer);
      this.strip.showHeat(stage.answer);
      this.#note(noteOf(stage, name));
      if (stage.last) byId("announcement").textContent = `The heat map shows which pixels support ${name}`;
    }
    if (!signal.aborted) this.#note(this.note.textContent.replace(...LATE));
  }

  /** Request `POST /v1/explain` for the image and the model; `timeoutMs` is the deadline, by default the service's. */
  explain(view, query, signal, timeoutMs) {
    const { name, version } = this.model;
    const { blob } = this.image;
    return patiently(() => post("v1/explain", blob, { view, model: name, version, ...query }, signal, timeoutMs), signal);
  }

  /** The user has named a channel, or renamed it. */
  wordsChanged() {
    this.evidence.wordsChanged();
  }

  showHeat({ heat, width, height }) {
    this.#setLayerVisible(false);
    this.heat.show(heat, { width, height });
    this.crop.setStrong(true);
    this.crop.setLegend(true);
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

  #choose(model) {
    this.model = model;
    this.colors = new ClassColors();
    if (this.moving) return;
    if (this.live.running) {
      this.#writeAddress();
      this.showCrop();
      this.#clearLayers();
      return;
    }
    const sample = this.#sampleInstead();
    if (sample) {
      this.#clear();
      this.#showWaiting();
      this.files.openSample(sample);
      return;
    }
    if (this.card.input) this.#before = null;
    this.files.mark(this.image?.sample);
    this.#writeAddress();
    this.showCrop();
    this.#predict({ fresh: true });
  }

  /** The sample that the model needs in place of the one that is shown; null where that is the user's, or fits. */
  #sampleInstead() {
    const shown = this.image?.sample;
    if (!shown) return null;
    if (!this.card.input && !this.isVideo) {
      this.#before = shown;
      return VIDEO_SAMPLE;
    }
    return this.card.input && shown === VIDEO_SAMPLE ? this.#before : null;
  }

  /** Show what an address says: on load, and when the user goes back or forward. `models` are given on load only. */
  #goTo({ task, model, sample, threshold, opacity }, own, models) {
    const wanted = Number(threshold);
    this.options.threshold = wanted > 0 && wanted < 1 ? wanted : THRESHOLD;
    this.mask.setOpacity(shareOf(opacity) ?? OPACITY);
    this.moving = true;
    if (models) this.choice.show(models, { task, model });
    else this.choice.choose({ task, model });
    this.moving = false;
    if (!this.model) return;
    const other = model && this.model.selector !== model;
    this.#say(other ? `No model “${model}” is ready here. ${this.card.title} answers instead.` : "");
    const image = own ? this.own : this.image;
    if (image && (own || models || image.sample === sample)) this.open(image);
    else this.files.openSample(sample ?? (this.card.input ? undefined : VIDEO_SAMPLE));
  }

  #writeAddress() {
    if (this.moving || !this.model || !this.image) return;
    const { task } = this.card;
    const { score_threshold: chosen } = taskOf(task).query(this.options);
    const threshold = chosen === undefined || chosen === THRESHOLD ? undefined : String(chosen);
    const opacity = taskOf(task).layer === "mask" && this.mask.opacity !== OPACITY ? String(this.mask.opacity) : undefined;
    writeAddress({ task, model: this.model.selector, sample: this.image.sample, threshold, opacity }, { own: !this.image.path });
  }

  async #predict({ fresh }) {
    if (!this.image || !this.model) return;
    if (this.isVideo) return this.#watch();
    const { image, model } = this;
    this.#heats.cancel();
    if (fresh) this.#clear();
    if (!model.card.input) return this.#askForVideo();
    this.crop.setStrong(true);
    const path = `v1/${model.card.task}`;
    const query = { model: model.selector, ...taskOf(model.card.task).query(this.options) };
    this.#showWaiting();
    try {
      const response = await this.#results.run((signal) => post(path, image.blob, query, signal));
      if (!response) return;
      this.#show(response.answer, response.timing, { image, path, query });
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

  #show(answer, timing, { image, path, query }) {
    this.#clearLayers();
    const [result] = answer.results;
    this.result = result;
    this.selected = null;
    const shown = taskOf(this.model.card.task).show(result, this);
    this.rows = shown.rows;
    this.hint = shown.hint;
    this.note = el("p", { class: "note" }, shown.hint);
    const list = shown.nodes.filter(Boolean);
    const heatTarget = () => taskOf(this.card.task).target?.(result, this.selected ?? 0) ?? {};
    const saves = savesOf({ image, model: this.model, path, query, answer, heatTarget, onError: (error) => this.#note(error.message) });
    this.panel.replaceChildren(...list, this.note, saves, costOf(this.model, timing), curlOf(curlLine(image, path, query)));
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

  /** Say something in the line above the tasks. */
  #say(text) {
    const line = byId("notice");
    line.textContent = text;
    line.hidden = !text;
  }

  /** Show on the image, or on the video, which part of it the network gets. */
  showCrop() {
    if (this.live.running) this.crop.show(this.card.input, this.live.size);
    else if (this.model && this.image) this.crop.show(this.card.input, this.isVideo ? this.timeline.size : this.view);
    else this.crop.hide();
  }

  #clearLayers() {
    this.boxes.hide();
    this.mask.hide();
    this.heat.hide();
    this.crop.setLegend(false);
    this.crop.setStrong(false);
  }

  #clear() {
    this.#results.cancel();
    this.#heats.cancel();
    this.result = null;
    this.#clearLayers();
    for (const section of this.sections) section.hide();
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

  #askForVideo() {
    const show = el("button", { class: "button", type: "button" }, "Show the sample video");
    show.addEventListener("click", () => this.files.openSample(VIDEO_SAMPLE));
    this.#showText("This model reads videos. Choose a video to see its result.", el("div", { class: "actions" }, show));
  }

  #showText(text, ...more) {
    this.panel.setAttribute("aria-busy", "false");
    this.panel.replaceChildren(el("p", { class: "placeholder" }, text), ...more);
  }
}

/** The number from 0 to 1 that a text is; undefined where it is none. */
function shareOf(text) {
  const share = text ? Number(text) : NaN;
  return share >= 0 && share <= 1 ? share : undefined;
}

new Playground();
