// Detections as boxes over the image; places are shares of it, so that they fit at any size on screen.

import { byId, el, vary } from "./dom.js";
import { percent } from "./text.js";

const ROOM_FOR_LABEL = 0.07;

export class Boxes {
  constructor() {
    this.layer = byId("boxes");
  }

  /** Draw `{width, height, detections}`; `lit(index | null)` hears the pointer, `picked(index)` a click. */
  show({ width, height, detections }, { lit, picked }) {
    const share = (value, whole) => `${((value / whole) * 100).toFixed(3)}%`;
    const area = ({ box }) => (box.x_max - box.x_min) * (box.y_max - box.y_min);
    this.boxes = detections.map((each, index) => {
      const { x_min: left, y_min: top, x_max: right, y_max: bottom } = each.box;
      const node = el("div", { class: "box" }, el("span", {}, `${each.label} ${percent(each.score)}`));
      node.classList.toggle("inward", top / height < ROOM_FOR_LABEL);
      node.addEventListener("pointerenter", () => lit(index));
      node.addEventListener("pointerleave", () => lit(null));
      node.addEventListener("click", () => picked(index));
      return vary(node, {
        left: share(left, width),
        top: share(top, height),
        width: share(right - left, width),
        height: share(bottom - top, height),
      });
    });
    // The small lie over the large, so that each can be pointed at.
    const order = detections.map((each, index) => [area(each), index]).sort((a, b) => b[0] - a[0]);
    this.layer.replaceChildren(...order.map(([, index]) => this.boxes[index]));
    this.layer.hidden = false;
  }

  light(index) {
    this.layer.classList.toggle("some", index !== null);
    this.boxes?.forEach((box, each) => box.classList.toggle("lit", each === index));
  }

  hide() {
    this.layer.hidden = true;
    this.layer.replaceChildren();
  }
}
