// A small line chart with one dot per point. Pointing at a dot shows its text; the chart's label has all texts.

import { el, svg } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 120;

/** `points` are {at, share, text, kept}; `kept`: the top class is still the same. */
export function curveOf(name, unit, points) {
  const low = Math.min(...points.map(({ at }) => at));
  const high = Math.max(...points.map(({ at }) => at));
  const x = (at) => ((at - low) / (high - low || 1)) * WIDTH;
  const y = (share) => HEIGHT - share * HEIGHT;
  const summary = `${name}: ${points.map(({ text }) => text).join("; ")}`;
  const caption = el("p", { class: "caption number" }, unit);
  const path = points.map(({ at, share }, index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(share).toFixed(1)}`);
  const dots = points.map(({ at, share, kept, text }) => {
    const dot = svg("circle", { class: kept ? "dot" : "dot hollow", cx: x(at), cy: y(share), r: 4 });
    const target = svg("circle", { cx: x(at), cy: y(share), r: 14, fill: "transparent" });
    for (const [event, shown] of [["pointerenter", text], ["pointerleave", unit]]) {
      target.addEventListener(event, () => (caption.textContent = shown));
    }
    return svg("g", {}, dot, target);
  });
  const label = (at, anchor) => {
    const node = svg("text", { x: x(at), y: HEIGHT + 18, "text-anchor": anchor });
    node.textContent = String(at);
    return node;
  };
  const chart = svg(
    "svg",
    { viewBox: `-4 -6 ${WIDTH + 8} ${HEIGHT + 28}`, role: "img", "aria-label": summary },
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: 0, y2: 0 }),
    svg("path", { class: "path", d: path.join("") }),
    ...dots,
    label(low, "start"),
    label(high, "end"),
  );
  return el("div", { class: "curve" }, el("h3", {}, name), chart, caption);
}
