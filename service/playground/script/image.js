// The image on the mat, as the browser shows it: turned as its EXIF says, like the service sees it.

import { byId, vary } from "./dom.js";

export class ImageView {
  #url = null;

  constructor() {
    this.figure = byId("image");
    this.image = byId("shown");
  }

  /** Show a blob; resolve when it is drawn, or is known to be of a kind that this browser can not draw. */
  async show({ blob, alt }) {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(blob);
    this.image.hidden = false;
    this.image.src = this.#url;
    this.image.alt = alt;
    byId("empty").hidden = true;
    this.figure.hidden = false;
    try {
      await this.image.decode();
      this.figure.classList.remove("undrawn");
      vary(this.figure, { "--aspect": this.width / this.height });
      return true;
    } catch {
      this.figure.classList.add("undrawn");
      return false;
    }
  }

  /** Leave the mat to a clip, over which the same layers lie. */
  yieldToClip() {
    byId("empty").hidden = true;
    this.figure.hidden = false;
    this.figure.classList.remove("undrawn");
    this.image.hidden = true;
  }

  get url() {
    return this.#url;
  }

  get width() {
    return this.image.naturalWidth;
  }

  get height() {
    return this.image.naturalHeight;
  }
}
