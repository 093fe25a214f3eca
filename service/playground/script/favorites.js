// What a channel looks for: the places in many images where it is most active, and the user's word for it.

import { isAbort, post } from "./api.js";
import { byId, el } from "./dom.js";
import { plainly } from "./failure.js";
import { Latest } from "./latest.js";
import { whenSeen } from "./seen.js";
import { plural, title } from "./text.js";
import { keepWord, wordOf, wordsOf } from "./words.js";

const PATCHES = 12;
const OF_EACH_IMAGE = 4;

/** Activations like ReLU6 end at a number, which many places then reach. `found` is sorted. */
const limitOf = (found) => {
  const shown = found.slice(0, PATCHES);
  return shown.length > 1 && shown[0].value === shown.at(-1).value ? " They are equal because the activation function of this stage ends at this number." : "";
};

export class Favorites {
  #work = new Latest();
  #giveUp = () => {};

  constructor(playground) {
    this.playground = playground;
    this.section = byId("favorites");
    this.body = byId("favorites-body");
  }

  show(model) {
    this.hide();
    this.model = model;
    if (!model.card.stages.length) return;
    const { stages } = model.card;
    this.#addControls(stages[Math.floor(stages.length / 2)]);
    this.section.hidden = false;
    this.#giveUp = whenSeen(this.section, () => this.#strongest());
  }

  hide() {
    this.#giveUp();
    this.#work.cancel();
    this.section.hidden = true;
  }

  /** Show a channel, from wherever on the page it was chosen. */
  open(stage, channel) {
    this.#giveUp();
    this.stage.value = stage;
    this.#limit();
    this.channel.value = channel;
    this.section.scrollIntoView({ block: "start" });
    this.#find();
    this.channel.focus({ preventScroll: true });
  }

  #addControls(first) {
    this.stage = el("select", {}, ...this.model.card.stages.map(({ name }) => el("option", { value: name }, title(name))));
    this.stage.value = first.name;
    this.channel = el("input", { type: "number", min: 0, step: 1, value: 0, required: true });
    this.word = el("input", { type: "text", maxlength: 40, autocomplete: "off", placeholder: "eyes, stripes, …" });
    this.patches = el("div", { class: "thumbs large", role: "list", "aria-label": "Favorite patches" });
    this.note = el("p", { class: "lead quiet", role: "status" });
    this.named = el("p", { class: "named" });
    const form = el(
      "form",
      { class: "asked" },
      el("label", {}, el("span", {}, "Stage"), this.stage),
      el("label", {}, el("span", {}, "Channel"), this.channel),
      el("button", { class: "button", type: "submit" }, "Find its favorite patches"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#find();
    });
    this.stage.addEventListener("change", () => this.#limit());
    this.word.addEventListener("input", () => {
      keepWord(this.model, this.stage.value, Number(this.channel.value), this.word.value);
      this.#listNamed();
      this.playground.wordsChanged();
    });
    const word = el("label", { class: "word" }, el("span", {}, "Your word for this channel"), this.word);
    this.body.replaceChildren(form, this.note, this.patches, word, this.named);
    this.#limit();
    this.#listNamed();
  }

  #limit() {
    const { channels } = this.model.card.stages.find(({ name }) => name === this.stage.value);
    this.channel.max = channels - 1;
    if (Number(this.channel.value) >= channels) this.channel.value = 0;
  }

  /** Begin with the channel that is strongest on the current image. */
  async #strongest() {
    try {
      const found = await this.#work.run((signal) => this.playground.explain("maps", { stage: this.stage.value, channels: 1 }, signal));
      if (!found) return;
      this.channel.value = found.answer.stages[0].maps[0].channel;
      this.#find();
    } catch (error) {
      this.note.textContent = plainly(error);
    }
  }

  async #find() {
    const [stage, channel] = [this.stage.value, Number(this.channel.value)];
    this.word.value = wordOf(this.model, stage, channel);
    this.note.textContent = "Looking through the images \u2026";
    this.patches.replaceChildren();
    try {
      await this.#work.run((signal) => this.#search(stage, channel, signal));
    } catch (error) {
      this.note.textContent = plainly(error);
    }
  }

  /** One image after the other, so that the service has room for others; the best patches so far are shown. */
  async #search(stage, channel, signal) {
    const images = await this.playground.gallery.all(signal);
    const found = [];
    let failed = 0;
    for (const { blob, name } of images) {
      const query = { view: "patterns", model: this.model.name, version: this.model.version, stage, channel, count: OF_EACH_IMAGE, thumbnails: true };
      try {
        const { answer } = await post("v1/explain", blob, query, signal);
        found.push(...answer.peaks.map((peak, rank) => ({ ...peak, name, rank })));
      } catch (error) {
        if (isAbort(error) || images.length === 1) throw error;
        failed += 1;
        if (failed === images.length) throw error;
      }
      if (signal.aborted) return;
      this.#draw(found);
    }
    const of = `Where channel ${channel} of ${title(stage)} is most active in ${plural(images.length - failed, "image")}: the samples, and the images that you have opened on this page.`;
    this.note.textContent = found.length ? `${of} The number is how active it is.${limitOf(found)} Open more images to be surer of its word.` : `${of} It is active nowhere.`;
  }

  #draw(found) {
    // Many are at the top of a ReLU6: of equal ones each image shows its first before another shows its second.
    const best = found.sort((a, b) => b.value - a.value || a.rank - b.rank).slice(0, PATCHES);
    this.patches.replaceChildren(
      ...best.map(({ thumbnail, value, name }) =>
        el("figure", { class: "thumb", role: "listitem" }, el("img", { src: thumbnail, alt: `A part of ${name}` }), el("figcaption", { class: "number" }, value.toFixed(2))),
      ),
    );
  }

  #listNamed() {
    const words = wordsOf(this.model);
    const links = words.map(([stage, channel, word]) =>
      el("button", { class: "link", type: "button", onclick: () => this.open(stage, channel) }, `${word} (${title(stage)}, ${channel})`),
    );
    this.named.replaceChildren(...(links.length ? [el("span", { class: "quiet" }, "Named in this browser:"), ...links] : []));
  }
}
