// The images that this page has: its samples, and what the user has opened since it was loaded.

import { ask } from "./api.js";

/** Older ones are let go, so that the page does not hold more and more memory. */
const MOST_OWN = 24;

export class Gallery {
  #own = [];
  #samples = null;

  add(image) {
    if (image.path || image.blob.type.startsWith("video/") || this.#own.some(({ blob }) => blob === image.blob)) return;
    this.#own = [image, ...this.#own].slice(0, MOST_OWN);
  }

  /** All images as `{blob, name}`: the user's first, then the samples. */
  async all(signal) {
    this.#samples ??= await Promise.all(
      Array.from(document.querySelectorAll("#samples .sample:not(.video) img"), async (node) => ({
        blob: await (await ask(node.getAttribute("src"), { signal })).blob(),
        name: node.alt || "Sample",
      })),
    );
    return [...this.#own, ...this.#samples];
  }
}
