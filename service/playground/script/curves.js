// A small line chart with one dot per point. Pointing at a dot, or the arrow keys, show its text; the label has all texts.

import { el, svg } from "./dom.js";
import { minus } from "./numbers.js";

const WIDTH = 240;
const HEIGHT = 120;
const TICKS = [0, 0.5, 1];
const TICK_ROOM = 46;
const END_ROOM = 12;

/**
 * `points` are {at, share, text, kept}; `kept`: the top class is still the same. `axis` is horizontal: its `unit`, the
 * numbers that stand under it, and whether equal ratios are equal steps (`logarithmic`).
 */
export function curveOf(name, { unit, marks, logarithmic = false }, points) {
  const place = logarithmic ? Math.log : Number;
  const low = Math.min(...points.map(({ at }) => place(at)));
  const high = Math.max(...points.map(({ at }) => place(at)));
  const x = (at) => ((place(at) - low) / (high - low || 1)) * WIDTH;
  const y = (share) => HEIGHT - share * HEIGHT;
  const summary = `${name}: ${points.map(({ text }) => text).join("; ")}`;
  const hint = "Point at a dot to read it.";
  const caption = el("p", { class: "caption number", "aria-live": "polite" }, hint);
  const path = points.map(({ at, share }, index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(share).toFixed(1)}`);
  const dots = points.map(({ at, share, kept, text }) => {
    const dot = svg("circle", { class: kept ? "dot" : "dot hollow", cx: x(at), cy: y(share), r: 4 });
    const target = svg("circle", { cx: x(at), cy: y(share), r: 14, fill: "transparent" });
    for (const [event, shown] of [["pointerenter", text], ["pointerleave", hint]]) {
      target.addEventListener(event, () => (caption.textContent = shown));
    }
    return svg("g", {}, dot, target);
  });
  const label = (text, attributes) => {
    const node = svg("text", attributes);
    node.textContent = text;
    return node;
  };
  const lines = TICKS.map((share) => svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: y(share), y2: y(share) }));
  const shares = TICKS.map((share) => label(`${share * 100} %`, { x: -8, y: y(share) + 4, "text-anchor": "end" }));
  const chart = svg(
    "svg",
    { viewBox: `${-TICK_ROOM} -8 ${WIDTH + TICK_ROOM + END_ROOM} ${HEIGHT + 48}`, role: "img", tabindex: 0, "aria-label": summary },
    ...lines,
    ...shares,
    svg("path", { class: "path", d: path.join("") }),
    ...dots,
    ...marks.map((at) => svg("line", { class: "axis", x1: x(at), x2: x(at), y1: HEIGHT, y2: HEIGHT + 4 })),
    ...marks.map((at) => label(minus(at), { x: x(at), y: HEIGHT + 18, "text-anchor": "middle" })),
    label(unit, { class: "unit", x: WIDTH / 2, y: HEIGHT + 36, "text-anchor": "middle" }),
  );
  listenForArrows(chart, dots, points, (text) => (caption.textContent = text ?? hint));
  return el("div", { class: "curve" }, el("h3", {}, name), chart, caption);
}

/** The arrow keys go from dot to dot while the chart has the focus. */
function listenForArrows(chart, dots, points, show) {
  let chosen = -1;
  const choose = (index) => {
    chosen = index;
    dots.forEach((dot, each) => dot.classList.toggle("chosen", each === index));
    show(points[index]?.text);
  };
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(Math.min(points.length - 1, Math.max(0, chosen + step)));
  });
  chart.addEventListener("blur", () => choose(-1));
}
