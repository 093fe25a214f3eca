// A small line chart: one hairline, one line, a dot a point; what a dot says is read by pointing at it or by Tab.

import { el, svg } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 120;

/** `points` are {at, share, said, held}; `held` is whether the top class was still the same. */
export function curveOf(name, unit, points) {
  const low = Math.min(...points.map(({ at }) => at));
  const high = Math.max(...points.map(({ at }) => at));
  const x = (at) => ((at - low) / (high - low || 1)) * WIDTH;
  const y = (share) => HEIGHT - share * HEIGHT;
  const summary = `${name}: ${points.map(({ said }) => said).join("; ")}`;
  const said = el("p", { class: "said number" }, unit);
  const path = points.map(({ at, share }, index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(share).toFixed(1)}`);
  const dots = points.map(({ at, share, held, said: text }) => {
    const dot = svg("circle", { class: held ? "dot" : "dot lost", cx: x(at), cy: y(share), r: 4 });
    const reach = svg("circle", { cx: x(at), cy: y(share), r: 14, fill: "transparent" });
    for (const [event, shown] of [["pointerenter", text], ["pointerleave", unit]]) {
      reach.addEventListener(event, () => (said.textContent = shown));
    }
    return svg("g", {}, dot, reach);
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
  return el("div", { class: "curve" }, el("h3", {}, name), chart, said);
}
