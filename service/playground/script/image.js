// The image as the browser shows it: rotated by its EXIF orientation, as in the service.

import { byId, setStyle } from "./dom.js";

const UNDRAWABLE = "This browser can not draw the file. The result shows whether the service can read it.";

export class ImageView {
  #url = null;

  constructor() {
    this.figure = byId("image");
    this.image = byId("shown");
  }

  /** Show a blob; resolve to whether this browser can draw it. */
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
      this.#setDrawable(true);
      setStyle(this.figure, { "--aspect": this.width / this.height });
      return true;
    } catch {
      this.#setDrawable(false);
      return false;
    }
  }

  /** Hide the image and keep its figure for a video, under the same layers. */
  makeRoomForVideo() {
    byId("empty").hidden = true;
    this.figure.hidden = false;
    this.#setDrawable(true);
    this.image.hidden = true;
  }

  /** Screen readers name a figure by its caption, also by one that is not shown: it has text only while it is true. */
  #setDrawable(drawable) {
    this.figure.classList.toggle("undrawable", !drawable);
    this.figure.querySelector("figcaption").textContent = drawable ? "" : UNDRAWABLE;
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
