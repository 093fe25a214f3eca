// A histogram of this page's own requests, and what their time was spent on.

import { post } from "./api.js";
import { el, svg } from "./dom.js";
import { Latest } from "./latest.js";
import { taskOf } from "./results.js";
import { ms, plural } from "./text.js";
import { measuredOf, onMeasured } from "./timings.js";

const MORE = 20;
const MOST_WIDTH = 640;
const LABEL_WIDTH = 72;
const HEIGHT = 150;
const BINS_PER_DOUBLING = 4;
const PARTS = [["decode", "decode"], ["queue", "queue"], ["infer", "network"], ["head", "head"]];
const work = new Latest();
let redraw = () => {};
onMeasured(() => redraw());

export async function showLatency(body, playground) {
  const { image, model } = playground.current();
  const path = `v1/${model.card.task}`;
  const chart = el("div", { class: "detail" });
  const button = el("button", { class: "button", type: "button" }, `Send ${MORE} more`);
  const note = el("p", { role: "status", class: "quiet" });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await work.run(async (signal) => {
        for (let sent = 0; sent < MORE && !signal.aborted; sent++) await post(path, image.blob, { model: model.selector, ...taskOf(model.card.task).query(playground.options) }, signal);
      });
      note.textContent = "";
    } catch (error) {
      note.textContent = error.message;
    }
    button.disabled = false;
  });
  // Text has its own size on any screen: the chart is drawn as wide as the panel is.
  redraw = () => chart.replaceChildren(...drawn(measuredOf(path, model.selector), Math.min(MOST_WIDTH, body.clientWidth)));
  body.replaceChildren(
    el("p", { class: "lead" }, `Requests of this page to ${model.card.title}, one after the other, from the first byte that leaves the browser to the last that arrives.`),
    chart,
    el("div", { class: "actions" }, button),
    note,
  );
  redraw();
}

/** The least of the values that at least this share of all values do not exceed. */
export const quantile = (sorted, share) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];

function drawn(measured, width) {
  if (!measured.length) return [el("p", { class: "quiet" }, "There is none yet.")];
  const totals = measured.map(({ total }) => total).sort((a, b) => a - b);
  const binOf = (value) => Math.floor(Math.log2(Math.max(0.1, value)) * BINS_PER_DOUBLING);
  const [first, last] = [binOf(totals[0]), binOf(totals.at(-1))];
  const counts = Array.from({ length: last - first + 1 }, (_, bin) => totals.filter((value) => binOf(value) === first + bin).length);
  const edge = (bin) => 2 ** ((first + bin) / BINS_PER_DOUBLING);
  const summary = `${plural(totals.length, "request")}: half took ${ms(quantile(totals, 0.5))} or less, 95 of 100 took ${ms(quantile(totals, 0.95))} or less, the slowest ${ms(totals.at(-1))}.`;
  return [el("p", { class: "number" }, summary), histogram(counts, edge, summary, width), partsOf(measured)];
}

function histogram(counts, edge, summary, width) {
  const chart = svg("svg", { class: "histogram", viewBox: `0 0 ${width} ${HEIGHT + 24}`, role: "img", "aria-label": summary });
  const step = Math.min(width / counts.length, 56);
  const most = Math.max(...counts);
  counts.forEach((number, bin) => {
    const height = (number / most) * (HEIGHT - 18);
    const bar = svg("rect", { x: bin * step + 1, y: HEIGHT - height, width: step - 2, height });
    chart.append(bar);
    const every = Math.ceil(LABEL_WIDTH / step);
    if (number) chart.append(label(bin * step + step / 2, HEIGHT - height - 5, number));
    if (bin % every === 0 && bin * step + LABEL_WIDTH <= width + step) chart.append(label(bin * step, HEIGHT + 18, ms(edge(bin)), "start"));
  });
  chart.append(svg("line", { class: "axis", x1: 0, x2: width, y1: HEIGHT, y2: HEIGHT }));
  return chart;
}

function label(x, y, text, anchor = "middle") {
  const node = svg("text", { x, y, "text-anchor": anchor });
  node.textContent = text;
  return node;
}

/** Medians of what the service says in Server-Timing; the rest is the way to it and back. */
function partsOf(measured) {
  const median = (values) => quantile([...values].sort((a, b) => a - b), 0.5);
  const known = measured.filter(({ timing }) => timing.total !== undefined);
  if (!known.length) return el("p", { class: "quiet" }, "The service sends no Server-Timing, so its parts are not known.");
  const rows = [
    ["Browser, network and HTTP", median(known.map(({ total, timing }) => Math.max(0, total - timing.total)))],
    ...PARTS.filter(([part]) => known.some(({ timing }) => timing[part] !== undefined)).map(([part, name]) => [`Service: ${name}`, median(known.map(({ timing }) => timing[part] ?? 0))]),
    ["All of it", median(known.map(({ total }) => total))],
  ];
  return el(
    "div",
    { class: "scrolls", tabindex: 0, role: "region", "aria-label": "Medians of the parts" },
    el("table", { class: "figures" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Part"), el("th", { scope: "col" }, "Median"))), el("tbody", {}, ...rows.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, ms(value)))))),
  );
}
