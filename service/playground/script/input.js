// Every way to give an image or a video: drop, paste, choose a file, take a photo, or use a sample.

import { ask } from "./api.js";
import { byId, el } from "./dom.js";

const SAMPLES = [
  { file: "cup.jpg", name: "A cup of coffee" },
  { file: "cat.jpg", name: "A cat" },
  { file: "hopper.jpg", name: "Grace Hopper in uniform" },
  { file: "astronaut.jpg", name: "An astronaut" },
  { file: "rocket.jpg", name: "A rocket" },
  { file: "digits.jpg", name: "Handwritten digits over a photograph" },
  { file: "motion.webm", poster: "motion.webp", name: "A moving cup, a video" },
];

/** The sample for models that read videos only. */
export const VIDEO_SAMPLE = "motion";

/** "cup.jpg" → "cup", as an address names it. */
const key = (file) => file.replace(/\.\w+$/, "");

export class Files {
  #buttons = new Map();

  /**
   * Call `onFile({blob, name, alt, path, sample})` with each file; only a sample has a `path`, its URL on this service,
   * and a `sample`, its name in an address.
   */
  constructor(onFile, onError) {
    this.onFile = onFile;
    this.onError = onError;
    for (const id of ["choose", "photo"]) {
      const input = byId(id);
      input.addEventListener("change", () => {
        this.#openOwn(input.files[0]);
        input.value = "";
      });
    }
    this.#listenForDrops();
    document.addEventListener("paste", (event) => this.#openOwn(event.clipboardData.files[0]));
    byId("samples").append(...SAMPLES.map((sample) => this.#buttonOf(sample)));
  }

  /** Open the sample with this name in an address, or the first one. */
  openSample(name) {
    const sample = SAMPLES.find(({ file }) => key(file) === name) ?? SAMPLES[0];
    return this.#openSample(sample);
  }

  /** Mark the sample with this name as chosen; undefined: none is. */
  mark(name) {
    for (const [file, button] of this.#buttons) button.setAttribute("aria-pressed", String(key(file) === name));
  }

  #openOwn(file) {
    if (file) this.onFile({ blob: file, name: file.name || "image", alt: "Your image" });
  }

  #listenForDrops() {
    const mat = byId("mat");
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      mat.classList.add("dragover");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) mat.classList.remove("dragover");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      mat.classList.remove("dragover");
      this.#openOwn(event.dataTransfer.files[0]);
    });
  }

  #buttonOf(sample) {
    const { file, poster, name } = sample;
    const button = el("button", { class: poster ? "sample video" : "sample", type: "button", "aria-pressed": "false", title: name });
    button.append(el("img", { src: `playground/samples/${poster ?? file}`, alt: name, width: 72, height: 52 }));
    button.addEventListener("click", () => this.#openSample(sample));
    this.#buttons.set(file, button);
    return button;
  }

  async #openSample({ file, name }) {
    const path = `playground/samples/${file}`;
    this.mark(key(file));
    try {
      const blob = await (await ask(path)).blob();
      const stillChosen = this.#buttons.get(file).getAttribute("aria-pressed") === "true";
      if (stillChosen) this.onFile({ blob, name: file, alt: name, path, sample: key(file) });
    } catch (error) {
      this.onError(error);
    }
  }
}
