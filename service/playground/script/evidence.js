// From features to a class: which features times which weights add up to the logit.

import { byId, el, setStyle } from "./dom.js";
import { plainly } from "./failure.js";
import { Latest } from "./latest.js";
import { agree, fixed, signed } from "./numbers.js";
import { whenSeen } from "./seen.js";
import { percent, title, unbroken } from "./text.js";
import { wordOf } from "./words.js";

const LISTED = 8;
const NO_SUM =
  "This network does not end in one linear layer over a vector of features. Its logits are made in another way, so they can not be shown as a sum of features times weights. The heat map above works for any network.";

export class Evidence {
  #work = new Latest();
  #giveUp = () => {};

  constructor(playground) {
    this.playground = playground;
    this.section = byId("evidence");
    this.body = byId("evidence-body");
  }

  /** Offer the classes of a result; other tasks than classification have none. */
  show(model, predictions) {
    this.hide();
    if (model.card.task !== "classify" || !predictions?.length) return;
    this.model = model;
    this.select = el("select", {}, ...predictions.map(({ class_id: id, label }) => el("option", { value: id }, label)));
    this.select.addEventListener("change", () => this.#load());
    this.sum = el("div", { class: "evidence" });
    this.body.replaceChildren(el("label", { class: "model own-label" }, el("span", {}, "Class"), this.select), this.sum);
    this.section.hidden = false;
    this.#giveUp = whenSeen(this.section, () => this.#load());
  }

  hide() {
    this.#giveUp();
    this.#work.cancel();
    this.section.hidden = true;
  }

  /** The user has named a channel. */
  wordsChanged() {
    if (this.answer && !this.section.hidden) this.#draw(this.answer);
  }

  async #load() {
    try {
      const found = await this.#work.run((signal) => this.playground.explain("logit", { class: this.select.value, count: LISTED }, signal));
      if (!found) return;
      this.answer = found.answer;
      this.#draw(found.answer);
    } catch (error) {
      this.answer = null;
      this.sum.replaceChildren(el("p", { class: "lead quiet" }, error.code === "invalid_parameter" ? NO_SUM : plainly(error)));
    }
  }

  #draw(answer) {
    const { target, positive, negative, positive_rest: more, negative_rest: less, stage } = answer;
    const largest = Math.max(...[...positive, ...negative].map(({ contribution }) => Math.abs(contribution)));
    const list = (heading, entries, rest) =>
      el(
        "section",
        { class: "side" },
        el("h3", {}, heading),
        el("ol", {}, ...entries.map((each) => this.#row(each, stage, largest)), restRow(rest)),
      );
    this.sum.replaceChildren(
      el("p", { class: "lead" }, origin(answer)),
      this.#balance(answer),
      el("div", { class: "sides" }, list(`For ${target.label}`, positive, more), list(`Against ${target.label}`, negative, less)),
    );
  }

  #row({ channel, feature, weight, contribution }, stage, largest) {
    const word = stage && wordOf(this.model, stage, channel);
    const name = `${stage ? "Channel" : "Feature"} ${channel}${word ? `, ${word}` : ""}`;
    const product = el("span", { class: "number quiet" }, `${fixed(feature)} \u00d7 ${fixed(weight, 3)} =`);
    const bar = setStyle(el("span", { class: contribution < 0 ? "bar minus" : "bar" }), { "--share": Math.abs(contribution) / largest });
    const content = [el("span", { class: "name" }, name), product, el("b", { class: "number" }, signed(contribution, 3)), bar];
    if (!stage) return el("li", { class: "term" }, ...content);
    const button = el("button", { class: "term", type: "button", title: "See what this channel looks for" }, ...content);
    button.addEventListener("click", () => this.playground.favorites.open(stage, channel));
    return el("li", {}, button);
  }

  /** All that speaks for the class, less all that speaks against it, is the logit. */
  #balance({ positive, negative, positive_rest: more, negative_rest: less, bias, sum, logit, target }) {
    const total = (entries, rest) => entries.reduce((all, { contribution }) => all + contribution, rest.contribution);
    const [gain, loss] = [total(positive, more), total(negative, less)];
    const bar = (name, value, kind) =>
      el("div", { class: "balance-row" }, el("span", {}, name), setStyle(el("span", { class: `bar ${kind}` }), { "--share": Math.abs(value) / Math.max(gain, -loss, Math.abs(sum)) }), el("b", { class: "number" }, signed(value)));
    const same = agree(sum, logit, gain - loss) ? "the number that the network computed" : `the network, which rounds more, computed ${fixed(logit)}`;
    return el(
      "div",
      { class: "balance" },
      bar("For", gain, ""),
      bar("Against", loss, "minus"),
      bar("Bias", bias, bias < 0 ? "minus" : ""),
      bar("Logit", sum, sum < 0 ? "minus total" : "total"),
      el("p", { class: "quiet" }, `The sum is ${fixed(sum)}: ${same}. Compared with the logits of all other classes it becomes a probability of ${unbroken(percent(target.probability))}.`),
    );
  }
}

const origin = ({ features, stage, target }) =>
  stage
    ? `Each of the ${features.toLocaleString("en")} channels of ${title(stage)} is averaged over its map. This number, how much of the channel's pattern is in the image, is multiplied by a weight that was learned for ${target.label}. Choose a channel to see what it looks for.`
    : `The last layer multiplies each of ${features.toLocaleString("en")} features by a weight that was learned for ${target.label}. These features are not averages of maps: layers lie between them and the last map, so none of them has a place in the image.`;

const restRow = ({ features, contribution }) =>
  features ? el("li", { class: "term rest" }, el("span", { class: "name quiet" }, `${features.toLocaleString("en")} smaller ones`), el("span"), el("b", { class: "number" }, signed(contribution, 3))) : null;
