// The network by stages: each a block, as high as its maps and as deep as it has channels.

import { el, svg } from "./dom.js";
import { count, title } from "./text.js";

const HEIGHT = 190;
const LEAST_SIDE = 12;
const LARGEST_SIDE = 120;
const DEEPEST = 64;
const GAP = 118;

export async function showStages(body, playground) {
  const { card } = playground.current().model;
  if (!card.stages.length) {
    body.replaceChildren(el("p", { class: "lead quiet" }, "The card of this model lists no stages."));
    return;
  }
  const { width, height } = card.input;
  const blocks = [
    { name: "Image", channels: 3, height, width },
    ...card.stages.map(({ name, channels, stride }) => ({ name: title(name), channels, height: Math.round(height / stride), width: Math.round(width / stride) })),
  ];
  const summary = blocks.map((each) => `${each.name}: ${sizeOf(each)}`).join("; ");
  const chart = svg("svg", { viewBox: `0 0 ${blocks.length * GAP + 40} ${HEIGHT + 62}`, width: blocks.length * GAP + 40, height: HEIGHT + 62, role: "img", "aria-label": summary });
  blocks.forEach((block, index) => chart.append(...drawn(block, index, blocks)));
  const last = card.labels.length ? `At the end are ${card.labels.filter(Boolean).length.toLocaleString("en")} classes.` : "At the end is a vector of features.";
  body.replaceChildren(
    el("p", { class: "lead" }, `From stage to stage the maps become smaller: a cell stands for a larger part of the image. At the same time there are more of them: more kinds of patterns. ${last}`),
    el("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "The network by stages" }, chart),
  );
}

const sizeOf = ({ channels, height, width }) => `${channels} × ${height} × ${width}`;

function drawn(block, index, blocks) {
  const largest = Math.max(...blocks.map(({ height, width }) => Math.max(height, width)));
  const most = Math.max(...blocks.map(({ channels }) => channels));
  const scaled = (value) => LEAST_SIDE + (LARGEST_SIDE - LEAST_SIDE) * (Math.log2(1 + value) / Math.log2(1 + largest)) ** 2.4;
  const [w, h] = [scaled(block.width) * 0.5, scaled(block.height)];
  const depth = 3 + (DEEPEST - 3) * (Math.log2(1 + block.channels) / Math.log2(1 + most)) ** 3;
  const slant = w * 0.45;
  const [x, y] = [20 + index * GAP, HEIGHT - h - 8];
  const face = (points, kind) => svg("polygon", { class: kind, points: points.map((point) => point.map((each) => each.toFixed(1)).join(",")).join(" ") });
  const text = (content, line, kind) => {
    const node = svg("text", { x, y: HEIGHT + 14 + line * 16, class: kind });
    node.textContent = content;
    return node;
  };
  const arrow = index ? [svg("path", { class: "flow", d: `M${x - 28} ${HEIGHT - 14}h16m-5 -4l5 4l-5 4` })] : [];
  return [
    ...arrow,
    face([[x, y], [x + slant, y - slant * 0.5], [x + slant + depth, y - slant * 0.5], [x + depth, y]], "top"),
    face([[x + depth, y], [x + depth + slant, y - slant * 0.5], [x + depth + slant, y + h - slant * 0.5], [x + depth, y + h]], "side"),
    face([[x, y], [x + depth, y], [x + depth, y + h], [x, y + h]], "front"),
    text(block.name, 0, "strong"),
    text(sizeOf(block), 1, ""),
    text(`${count(block.channels * block.height * block.width)} numbers`, 2, ""),
  ];
}
