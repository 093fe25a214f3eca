// A model's card in plain words: what happens to an image before the network, and what is known of the network.

import { download, el } from "./dom.js";
import { count, percent, plural, prettyJson, title } from "./text.js";

/** The four numbers of a box, as the card names their order. */
const BOX_NUMBERS = {
  xyxy: "left, top, right and bottom",
  yxyx: "top, left, bottom and right",
  xywh: "left, top, width and height",
  yxhw: "top, left, height and width",
  cxcywh: "the center's x and y, width and height",
  cycxhw: "the center's y and x, height and width",
};
const BOX_UNITS = { pixel: "in pixels of its frame", frame: "as shares of its frame, from 0 to 1" };
const ASSUMED_OF_BOXES = { format: "the order of these numbers", unit: "their unit" };

const INTERPOLATIONS = {
  bilinear: "bilinear",
  bicubic: "bicubic",
  lanczos: "Lanczos",
  linear: "bilinear without antialiasing",
  nearest: "nearest-neighbor",
};

export async function showCard(body, playground) {
  const { model } = playground.current();
  const { card } = model;
  const save = el("button", { class: "button", type: "button" }, "Save the card as JSON");
  save.addEventListener("click", () => download(new Blob([JSON.stringify(card, null, 2)], { type: "application/json" }), `${model.name}-${model.version}.json`));
  const json = el("pre", { class: "json", tabindex: 0, role: "region", "aria-label": "Card as JSON" }, prettyJson(card));
  body.replaceChildren(
    card.description ? el("p", { class: "lead" }, card.description) : "",
    el("h3", {}, "What happens to an image"),
    el("ol", { class: "steps" }, ...stepsOf(card).map((text) => el("li", {}, text))),
    el("h3", {}, "What is known of the network"),
    factsOf(model),
    el("details", { class: "inner" }, el("summary", {}, "The card as JSON"), json),
    el("div", { class: "actions" }, save),
  );
}

function stepsOf(card) {
  const { input, normalization, task, labels, multi_label: several, nms_free: alone } = card;
  const size = `${input.width} × ${input.height}`;
  const how = INTERPOLATIONS[input.interpolation] ?? input.interpolation;
  const resized = {
    crop: `Its shorter side is resized to ${input.shorter_side} pixels (${how}), and the middle ${size} pixels are kept. The network does not see the rest.`,
    stretch: `It is resized to ${size} pixels (${how}), whatever its proportions: a long image is pressed together.`,
    letterbox: `It is resized to fit into ${size} pixels (${how}), with its proportions; the rest${input.placement === "corner" ? ", on the right and below," : ""} is filled with the color ${input.pad_color.join(", ")}.`,
  }[input.resize];
  return [
    "The file is decoded, turned upright as its EXIF data says, and converted to red, green and blue in sRGB.",
    resized,
    normalized(normalization),
    { classify: `The network gives a number for each of ${plural(labels.length, "class", "classes")}; ${several ? "a sigmoid makes each a probability of its own" : "softmax makes probabilities of them"}.`,
      detect: `The network proposes boxes, each with one of ${plural(labels.filter(Boolean).length, "label")} and a score; ${alone ? "it gives each object one box itself" : "of boxes that overlap the best one is kept"}.`,
      segment: "The network gives each pixel of its frame a class; the mask is enlarged to your image.",
      embed: "The network gives a vector of features. Images with similar vectors look alike to it." }[task],
    boxesRead(card.boxes),
  ].filter(Boolean);
}

function normalized(values) {
  if (!values) return "Inside the network's file each byte becomes a number around 0. The panel “The exact tensor” shows which.";
  const { scale, mean, std, color, assumed } = values;
  const list = (numbers) => [...new Set(numbers.map((number) => Number(number.toPrecision(4))))].join(", ");
  const order = { rgb: "", bgr: " The channels are in the order blue, green, red.", gray: " The colors are mixed to one gray channel." }[color];
  const doubt = assumed.length ? ` Nobody stated ${assumed.join(" and ")}: ${assumed.length > 1 ? "they are" : "it is"} assumed.` : "";
  const steps = [
    scale === 1 ? null : (what) => `${what} is multiplied by ${Number(scale.toPrecision(4))}`,
    mean.every((value) => value === 0) ? null : (what) => `${list(mean)} is subtracted from ${what}`,
    std.every((value) => value === 1) ? null : (what) => `${what} is divided by ${list(std)}`,
  ].filter(Boolean);
  const done = steps.map((step, place) => step(place ? "the result" : "each byte")).join(", then ");
  return `${title(done || "each byte is taken as it is, from 0 to 255")}.${order}${doubt}`;
}

/** How the network's own boxes are read; null where the card does not say it. */
function boxesRead(boxes) {
  if (!boxes) return null;
  const { format, unit, assumed } = boxes;
  const doubt = assumed.length
    ? ` Nobody stated ${assumed.map((part) => ASSUMED_OF_BOXES[part]).join(" and ")}, and real images did not show it: ${assumed.length > 1 ? "both are" : "it is"} assumed.`
    : "";
  if (format === "grid") return `The four numbers of a box are center and size relative to a cell of a grid.${doubt}`;
  return `The four numbers of a box are ${BOX_NUMBERS[format]}, ${BOX_UNITS[unit]}.${doubt}`;
}

function factsOf({ name, version, device, precision, largest_batch: batch, card }) {
  const { certificate, cost } = card;
  const facts = [
    ["Served as", `${name}, version ${version}, on ${device}, in ${precision}`],
    ["Largest batch", batch === null ? "not known yet" : plural(batch, "image")],
    ["Size", `${count(cost.parameters)} learned parameters, ${count(cost.macs)} multiply-accumulates for an image`],
    ...Object.entries(card.scores).map(([score, value]) => [title(score), percent(value)]),
    ...measuredOf(card),
    ...(card.cut ? [["Crowds", `On ${card.cut.images} of ${plural(card.cut.of, "image")} of the proof there were more candidates than there are places: objects of a score below ${percent(card.cut.below)} may be lost in such crowds.`]] : []),
    ["Source", card.source],
    ["License", card.license],
    ["Proof", `Of ${plural(certificate.images, "image")}, ${percent(certificate.agreement)} had the same result (${certificate.metric}) as with ${certificate.reference}; numbers differed by ${certificate.max_difference.toExponential(1)} at most, ${certificate.tolerance} is allowed. ${certificate.date}.`],
  ];
  return el("dl", { class: "facts" }, ...facts.flatMap(([term, value]) => [el("dt", { class: "quiet" }, term), el("dd", {}, value)]));
}

/** What was measured at the export on images with known answers, beside what the source reached on them. */
function measuredOf({ accuracy }) {
  if (!accuracy) return [];
  const scores = Object.entries(accuracy.scores).map(([score, value]) => {
    const source = accuracy.reference[score];
    return `${score} ${percent(value)}${source === undefined ? "" : ` (its source: ${percent(source)})`}`;
  });
  return [["Measured", `${scores.join(", ")}, on ${plural(accuracy.images, "image")} with known answers`]];
}
