// Many images through the chosen model: a grid that can be sorted by confidence or by error.

import { isAbort, post } from "./api.js";
import { el } from "./dom.js";
import { Latest } from "./latest.js";
import { taskOf } from "./results.js";
import { percent, plural } from "./text.js";

const MOST_IMAGES = 500;
const AT_ONCE = 4;
const THUMBNAIL = 160;
const plain = (text) => text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, " ").trim();

const ORDERS = {
  "Least sure first": (a, b) => a.share - b.share,
  "Most sure first": (a, b) => b.share - a.share,
  "Errors first, surest first": (a, b) => b.wrong - a.wrong || b.share - a.share,
  "By name": (a, b) => a.name.localeCompare(b.name),
};

export async function showFolder(body, playground) {
  new Folder(body, playground);
}

class Folder {
  #work = new Latest();
  #entries = [];

  constructor(body, playground) {
    this.playground = playground;
    this.order = el("select", {}, ...Object.keys(ORDERS).map((name) => el("option", {}, name)));
    this.order.addEventListener("change", () => this.#arrange());
    this.progress = el("p", { class: "number", role: "status" });
    this.grid = el("ul", { class: "folder", "aria-label": "Images with their results" });
    this.tools = el("div", { class: "tools-row", hidden: true }, el("label", { class: "model own-label" }, el("span", {}, "Order"), this.order));
    body.replaceChildren(
      el("p", { class: "lead" }, "The images go to this server one by one, with the model that is chosen above. If the folder or the file of an image is named after a label, as in cups/espresso/1.jpg, the grid shows errors."),
      el("div", { class: "actions" }, this.#chooser("Choose a folder", { webkitdirectory: true }), this.#chooser("Choose images", { accept: "image/*" })),
      this.progress, this.tools, this.grid,
    );
  }

  #chooser(text, attributes) {
    const input = el("input", { class: "visually-hidden", type: "file", multiple: true, ...attributes });
    input.addEventListener("change", () => {
      this.#run([...input.files].filter(({ type }) => type.startsWith("image/")));
      input.value = "";
    });
    return el("label", { class: "choose-many" }, input, el("span", { class: "button" }, text));
  }

  async #run(files) {
    const { model } = this.playground.current();
    const images = files.slice(0, MOST_IMAGES);
    this.#entries = [];
    this.grid.replaceChildren();
    this.tools.hidden = false;
    if (!images.length) return (this.progress.textContent = "There is no image in it.");
    this.labels = new Map(model.card.labels.filter(Boolean).map((label) => [plain(label), label]));
    this.of = files.length > images.length ? `the first ${images.length} of ${files.length}` : plural(images.length, "image");
    try {
      await this.#work.run(async (signal) => {
        const waiting = [...images];
        const worker = async () => {
          while (waiting.length && !signal.aborted) await this.#one(waiting.shift(), model, signal);
        };
        await Promise.all(Array.from({ length: AT_ONCE }, worker));
        if (!signal.aborted) this.#arrange();
      });
    } catch (error) {
      this.progress.textContent = error.message;
    }
  }

  async #one(file, model, signal) {
    const task = taskOf(model.card.task);
    const entry = { file, name: file.webkitRelativePath || file.name, expected: this.#expected(file), share: -1, wrong: 0 };
    try {
      const { answer } = await post(`v1/${model.card.task}`, file, { model: model.name, version: model.version, ...task.query(this.playground.options) }, signal);
      const found = task.shares?.(answer.results[0]) ?? [];
      [entry.label, entry.share] = found.reduce((best, each) => (each[1] > best[1] ? each : best), ["nothing found", 0]);
      entry.wrong = Number(entry.expected !== null && entry.expected !== entry.label);
    } catch (error) {
      if (isAbort(error)) return;
      if (error.code === "unauthorized") throw error;
      entry.failed = error.message;
    }
    if (signal.aborted) return;
    entry.node = await this.#card(entry);
    this.#entries.push(entry);
    this.grid.append(entry.node);
    this.#report();
  }

  /** The label that the folder is named after, or that the file's name begins with; null: none. */
  #expected(file) {
    const folder = (file.webkitRelativePath || "").split("/").at(-2) ?? "";
    const named = this.labels.get(plain(folder));
    if (named) return named;
    const words = plain(file.name.replace(/\.[^.]*$/, "")).split(" ");
    for (let length = words.length; length; length--) {
      const label = this.labels.get(words.slice(0, length).join(" "));
      if (label) return label;
    }
    return null;
  }

  async #card({ file, name, label, share, expected, wrong, failed }) {
    const pane = await thumbnailOf(file);
    const below = failed
      ? el("span", { class: "verdict-line wrong" }, failed)
      : el("span", { class: wrong ? "verdict-line wrong" : "verdict-line" }, expected === null ? "" : wrong ? `\u2717 should be ${expected}` : "\u2713 right");
    const button = el("button", { class: "card", type: "button", title: `${name}: open it above` }, pane, el("b", {}, failed ? "no result" : label), el("span", { class: "number quiet" }, failed ? "" : percent(share)), below, el("span", { class: "visually-hidden" }, name));
    button.addEventListener("click", () => {
      this.playground.open({ blob: file, name: file.name, alt: "Your image" });
      document.getElementById("stage").scrollIntoView();
    });
    return el("li", {}, button);
  }

  #arrange() {
    const sorted = [...this.#entries].sort(ORDERS[this.order.value]);
    this.grid.replaceChildren(...sorted.map(({ node }) => node));
  }

  #report() {
    const known = this.#entries.filter(({ expected, failed }) => expected !== null && !failed);
    const right = known.filter(({ wrong }) => !wrong).length;
    const failed = this.#entries.filter(({ failed: why }) => why).length;
    const parts = [
      `${this.#entries.length} of ${this.of}.`,
      known.length ? `${right} of ${known.length} with a label are right: ${percent(right / known.length)}.` : "",
      failed ? `${failed} could not be read.` : "",
    ];
    this.progress.textContent = parts.filter(Boolean).join(" ");
  }
}

/** A small copy, so that a folder of photographs does not fill the memory of the browser. */
async function thumbnailOf(file) {
  const canvas = el("canvas", { width: THUMBNAIL, height: THUMBNAIL, "aria-hidden": "true" });
  try {
    const bitmap = await createImageBitmap(file);
    const side = Math.min(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, THUMBNAIL, THUMBNAIL);
    bitmap.close();
  } catch {
    // This browser can not draw the file; the service may have read it.
  }
  return canvas;
}
