// Detections as boxes over the image. Positions are percentages of the image, so that boxes fit at any size on screen.

import { byId, el, setStyle } from "./dom.js";
import { placeLabels } from "./labels.js";
import { percent } from "./text.js";

/** Boxes that overlap by this share (intersection over union) lie on each other; the better one is on top. */
const SAME_PLACE = 0.6;

export class Boxes {
  constructor() {
    this.layer = byId("boxes");
    new ResizeObserver(() => this.#placeLabels()).observe(this.layer);
  }

  /**
   * Draw `{width, height, detections}` in the colors of their classes; both callbacks get a box's index, `onHighlight`
   * also null for none.
   */
  show({ width, height, detections }, { colors, onHighlight, onSelect }) {
    const share = (value, whole) => `${((value / whole) * 100).toFixed(3)}%`;
    this.boxes = detections.map(({ label, score, box: { x_min: left, y_min: top, x_max: right, y_max: bottom } }, index) => {
      const { fill, ink, dashed } = colors.of(label);
      const node = el("div", { class: dashed ? "box dashed" : "box" }, el("span", {}, `${label} ${percent(score)}`));
      node.addEventListener("pointerenter", () => onHighlight(index));
      node.addEventListener("pointerleave", () => onHighlight(null));
      node.addEventListener("click", () => onSelect(index));
      return setStyle(node, {
        "--box": fill,
        "--ink": ink,
        left: share(left, width),
        top: share(top, height),
        width: share(right - left, width),
        height: share(bottom - top, height),
      });
    });
    this.layer.hidden = false;
    this.layer.replaceChildren(...drawingOrder(detections).map((index) => this.boxes[index]));
    this.byScore = detections.map((_, index) => index).sort((a, b) => detections[b].score - detections[a].score);
    this.#placeLabels();
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
    this.boxes = null;
  }

  #placeLabels() {
    if (!this.boxes || !this.layer.clientWidth) return;
    const order = this.byScore.map((index) => this.boxes[index]);
    const labels = order.map((node) => {
      const { offsetLeft: left, offsetTop: top, offsetWidth, offsetHeight, firstChild: label } = node;
      const box = { left, top, right: left + offsetWidth, bottom: top + offsetHeight };
      return { width: label.offsetWidth, height: label.offsetHeight, box };
    });
    const size = { width: this.layer.clientWidth, height: this.layer.clientHeight };
    placeLabels(labels, size).forEach(({ left, top, crowded }, place) => {
      const node = order[place];
      node.classList.toggle("crowded", crowded);
      const { box } = labels[place];
      setStyle(node.firstChild, {
        left: `${left - box.left - node.clientLeft}px`,
        top: `${top - box.top - node.clientTop}px`,
        "z-index": order.length - place,
      });
    });
  }
}

/** The indices from the bottom to the top: small boxes over large ones, and of boxes in one place the best on top. */
function drawingOrder(detections) {
  const leaders = [];
  const keys = detections.map((each, index) => ({ index, score: each.score }));
  for (const key of [...keys].sort((a, b) => b.score - a.score)) {
    const { box } = detections[key.index];
    const leader = leaders.find((other) => iou(other, box) >= SAME_PLACE);
    if (!leader) leaders.push(box);
    key.area = area(leader ?? box);
  }
  return keys.sort((a, b) => b.area - a.area || a.score - b.score).map(({ index }) => index);
}

const area = ({ x_min: left, y_min: top, x_max: right, y_max: bottom }) => Math.max(0, right - left) * Math.max(0, bottom - top);

function iou(a, b) {
  const both = area({
    x_min: Math.max(a.x_min, b.x_min),
    y_min: Math.max(a.y_min, b.y_min),
    x_max: Math.min(a.x_max, b.x_max),
    y_max: Math.min(a.y_max, b.y_max),
  });
  return both / (area(a) + area(b) - both || 1);
}
