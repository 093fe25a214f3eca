// Detections as boxes over the image. Positions are percentages of the image, so that boxes fit at any size on screen.

import { byId, el, setStyle } from "./dom.js";
import { percent } from "./text.js";

const ROOM_FOR_LABEL = 0.07;

export class Boxes {
  constructor() {
    this.layer = byId("boxes");
  }

  /** Draw `{width, height, detections}`; both callbacks get a box's index, `onHighlight` also null for none. */
  show({ width, height, detections }, { onHighlight, onSelect }) {
    const share = (value, whole) => `${((value / whole) * 100).toFixed(3)}%`;
    const area = ({ box }) => (box.x_max - box.x_min) * (box.y_max - box.y_min);
    this.boxes = detections.map((each, index) => {
      const { x_min: left, y_min: top, x_max: right, y_max: bottom } = each.box;
      const node = el("div", { class: "box" }, el("span", {}, `${each.label} ${percent(each.score)}`));
      node.classList.toggle("label-inside", top / height < ROOM_FOR_LABEL);
      node.addEventListener("pointerenter", () => onHighlight(index));
      node.addEventListener("pointerleave", () => onHighlight(null));
      node.addEventListener("click", () => onSelect(index));
      return setStyle(node, {
        left: share(left, width),
        top: share(top, height),
        width: share(right - left, width),
        height: share(bottom - top, height),
      });
    });
    // Small boxes lie over large ones, so that each can be pointed at.
    const order = detections.map((each, index) => [area(each), index]).sort((a, b) => b[0] - a[0]);
    this.layer.replaceChildren(...order.map(([, index]) => this.boxes[index]));
    this.layer.hidden = false;
  }

  highlight(index) {
    this.layer.classList.toggle("dimmed", index !== null);
    this.boxes?.forEach((box, each) => box.classList.toggle("highlighted", each === index));
  }

  setVisible(visible) {
    this.layer.hidden = !visible;
  }

  hide() {
    this.layer.hidden = true;
    this.layer.replaceChildren();
  }
}
