// What the network gets of the image: the part that it sees, and a caption that says so.

import { byId, el, setStyle } from "./dom.js";
import { drawRamp } from "./heat.js";
import { unbroken } from "./text.js";

const sizeOf = ({ width, height }) => unbroken(`${width} × ${height} pixels`);

const HOW = {
  crop: (size) => `The network sees the bright part only, at ${sizeOf(size)}.`,
  stretch: (size) => `The network sees the whole image, stretched to ${sizeOf(size)}.`,
  letterbox: (size) => `The network sees the whole image, fitted into ${sizeOf(size)}.`,
};

/** The part of an image of width × height pixels that a card's `input` keeps, as shares of the image: {left, top, width, height}. */
function seenPart(input, { width, height }) {
  if (input.resize !== "crop") return { left: 0, top: 0, width: 1, height: 1 };
  const shorter = input.shorter_side ?? Math.min(input.width, input.height);
  const scale = shorter / Math.min(width, height);
  const across = Math.min(1, input.width / (width * scale));
  const down = Math.min(1, input.height / (height * scale));
  return { left: (1 - across) / 2, top: (1 - down) / 2, width: across, height: down };
}

export class Crop {
  constructor() {
    this.layer = byId("crop");
    this.caption = byId("seen");
    this.legend = byId("heat-legend");
    drawRamp(byId("ramp"));
  }

  /** Dim what a network with this input does not see of an image of `size`; nothing where the input has no size. */
  show(input, size) {
    const known = Boolean(input?.width && size.width);
    this.layer.hidden = !known;
    this.caption.textContent = known ? HOW[input.resize]?.(input) ?? "" : "";
    if (!known) return;
    const part = seenPart(input, size);
    const window = el("i");
    for (const [name, share] of Object.entries(part)) setStyle(window, { [name]: `${(share * 100).toFixed(3)}%` });
    this.layer.hidden = part.width === 1 && part.height === 1;
    this.layer.replaceChildren(window);
  }

  /** Dim the rest more while the result is awaited and under a heat map, where the difference matters most. */
  setStrong(strong) {
    this.layer.classList.toggle("strong", strong);
  }

  setLegend(visible) {
    this.legend.hidden = !visible;
  }

  hide() {
    this.layer.hidden = true;
    this.caption.textContent = "";
    this.setLegend(false);
  }
}
