// The image as the browser shows it: rotated by its EXIF orientation, as in the service.

import { byId, setStyle } from "./dom.js";

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
      this.figure.classList.remove("undrawable");
      setStyle(this.figure, { "--aspect": this.width / this.height });
      return true;
    } catch {
      this.figure.classList.add("undrawable");
      return false;
    }
  }

  /** Hide the image and keep its figure for a video, under the same layers. */
  makeRoomForVideo() {
    byId("empty").hidden = true;
    this.figure.hidden = false;
    this.figure.classList.remove("undrawable");
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
