// A task's JSON → what the page announces, lists and draws over the image. Tasks differ in this file only.

import { ask } from "./api.js";
import { download, el, slider } from "./dom.js";
import { Rows } from "./rows.js";
import { percent, plural, prettyJson, stem, unbroken } from "./text.js";

/**
 * One entry per task. `query(options)` returns its query parameters. `show(result, ui)` returns the nodes of a result
 * and draws on the layers of `ui`. The other parts are optional: `layer` is the layer that it draws on, `target(result,
 * index)` the query of an explanation of one row, `nameOf(result, index)` the label of that row, `shares(frame)` the
 * [label, 0–1] pairs of a video's frame, `cheapHeat` whether a heat map needs only one run of the network, `probe`
 * whether the robustness test supports the task, `isChain` whether several networks answer, so that there is none to look
 * into. A task that reads several frames at once has three more: `momentsOf(frame, card)` the moments of a video that a
 * frame completes (see video.js), `overall(summary)` a sentence on a video with several, `showSummary(summary)` the nodes
 * of one with none.
 */
const TASKS = {
  classify: {
    query: () => ({ top_k: null }),
    show: showClasses,
    target: (result, index) => ({ class: result.predictions[index].class_id }),
    nameOf: (result, index) => result.predictions[index].label,
    shares: ({ predictions }) => predictions.map(({ label, probability }) => [label, probability]),
    cheapHeat: true,
    probe: true,
  },
  detect: {
    query: ({ threshold }) => ({ score_threshold: threshold }),
    show: showDetections,
    layer: "boxes",
    target: (_, index) => ({ box: index }),
    nameOf: (result, index) => result.detections[index].label,
    shares: ({ detections }) => detections.map(({ label, score }) => [label, score]),
  },
  segment: {
    query: () => ({}),
    show: showSegments,
    layer: "mask",
    target: (result, index) => ({ class: result.segments[index].class_id }),
    nameOf: (result, index) => result.segments[index].label,
    shares: ({ segments }) => segments.map(({ label, fraction }) => [label, fraction]),
  },
  chain: {
    query: () => ({}),
    show: showChain,
    layer: "boxes",
    shares: ({ boxes }) => readBoxes(boxes).map(({ label, score }) => [label, score]),
    isChain: true,
  },
  embed: {
    query: () => ({}),
    show: showVector,
  },
  temporal: {
    query: () => ({}),
    show: showClasses,
    momentsOf: windowsOf,
    overall: ({ predictions }) => `Over the whole video: ${predictions.slice(0, MOST_OVERALL).map(({ label, probability }) => `${label} ${unbroken(percent(probability))}`).join(", ")}.`,
    showSummary: ({ detail }) => showMessage(detail),
  },
};

/** So many classes are named of a whole video. */
const MOST_OVERALL = 3;
/** More labels than this are counted, not named. */
const MOST_NAMED = 12;
/** More labels, or longer ones, do not fit into a headline. */
const MOST_IN_HEADLINE = 6;
const MOST_LETTERS = 24;

/** Any other task: the result as JSON. */
const OTHER_TASK = { query: () => ({}), show: showJson };

/** The tasks that the page draws, in the order in which it lists them. */
export const DRAWN_TASKS = ["classify", "detect", "segment"];

export const taskOf = (name) => (Object.hasOwn(TASKS, name) ? TASKS[name] : OTHER_TASK);

function showClasses(result, ui) {
  const [best] = result.predictions;
  const rows = new Rows(
    result.predictions.map(({ label, probability }) => ({ name: label, share: probability, text: percent(probability) })),
    { label: "Class probabilities", onSelect: ui.select },
  );
  return {
    rows,
    announcement: `${best.label}, ${percent(best.probability)}`,
    nodes: [headline(best.label, `${percent(best.probability)} sure`), knownLabels(ui.card), rows.node],
    hint: "Choose a class to see which pixels support it.",
  };
}

function showDetections(result, ui) {
  const found = result.detections;
  const highlight = (index) => {
    rows.highlight(index);
    ui.boxes.highlight(index);
  };
  const rows = new Rows(
    found.map(({ label, score }) => ({ name: label, share: score, text: percent(score), swatch: ui.colors.of(label) })),
    { label: "Detections", onHighlight: highlight, onSelect: ui.select },
  );
  ui.boxes.show(result, {
    colors: ui.colors,
    onHighlight: highlight,
    onSelect: (index) => ui.select?.(rows.selected === index ? null : index),
  });
  const threshold = slider({
    label: "Minimum score",
    min: 0.05,
    max: 0.95,
    step: 0.05,
    value: ui.options.threshold,
    format: (value) => value.toFixed(2),
    onChange: ui.setThreshold,
  });
  const things = found.length ? plural(found.length, "thing") : "Nothing";
  return {
    rows,
    announcement: `${things} found${found.length ? `: ${found.map(({ label }) => label).join(", ")}` : ""}`,
    nodes: [
      headline(things, found.length ? "found" : "found with this score. Lower the minimum score to see more."),
      knownLabels(ui.card),
      found.length ? rows.node : null,
      el("div", { class: "tools" }, threshold),
    ],
    hint: found.length ? "Choose a thing to see which pixels support it." : "",
  };
}

function showSegments(result, ui) {
  const found = result.segments;
  const highlight = (index) => {
    rows.highlight(index);
    ui.mask.highlight(index);
  };
  const rows = new Rows(
    found.map(({ label, fraction }) => ({
      name: label,
      share: fraction,
      text: percent(fraction),
      swatch: ui.colors.of(label),
    })),
    { label: "Areas", onHighlight: highlight, onSelect: ui.select },
  );
  ui.mask.show(result, { colors: ui.colors, onHighlight: highlight });
  const opacity = slider({
    label: "Mask opacity",
    min: 0,
    max: 1,
    step: 0.01,
    value: ui.mask.opacity,
    format: (value) => `${Math.round(value * 100)} %`,
    onInput: (value) => ui.mask.setOpacity(value),
    onChange: ui.keepOptions,
  });
  const [largest] = found;
  return {
    rows,
    announcement: largest ? `${largest.label}, ${percent(largest.fraction)} of the image` : "Only background",
    nodes: [
      largest
        ? headline(found.length === 1 ? largest.label : plural(found.length, "area"), covered(found))
        : headline("Nothing", "found, only background"),
      knownLabels(ui.card),
      found.length ? rows.node : null,
      // The buttons save a rendering of one image; a video has many frames.
      el("div", { class: "tools" }, opacity, ui.current ? saveButtons(ui) : null),
    ],
    hint: found.length ? "Choose an area to see which pixels support it." : "",
  };
}

/**
 * The windows of a temporal network that end with a frame. Windows overlap, and the timeline gives each the time around its
 * middle, up to that of the next; the first has all from its start.
 */
function windowsOf({ windows = [] }, { window: { stride, fps } }) {
  const half = stride / fps / 2;
  return windows.map((window) => {
    const { start, end, predictions } = window;
    const middle = (start + end) / 2;
    return {
      from: start === 0 ? 0 : middle - half,
      until: middle + half,
      when: `From ${start.toFixed(1)} to ${end.toFixed(1)} s`,
      result: window,
      shares: predictions.map(({ label, probability }) => [label, probability]),
    };
  });
}

/** The boxes that a later step has read, also the nested ones: {label, score, box} with what was read there. */
function readBoxes(boxes) {
  return boxes.flatMap((each) => {
    const results = Object.values(each.answers).map(({ result }) => result).filter(Boolean);
    const nested = results.flatMap((result) => (result.boxes ? readBoxes(result.boxes) : []));
    if (nested.length) return nested;
    if (!results.length) return [];
    const best = results.find(({ predictions }) => predictions)?.predictions[0];
    return [{ label: best?.label ?? each.label, score: best?.probability ?? each.score, box: each.box }];
  });
}

function showChain(result, ui) {
  const read = readBoxes(result.boxes);
  const highlight = (index) => {
    rows.highlight(index);
    ui.boxes.highlight(index);
  };
  const rows = new Rows(
    read.map(({ label, score }) => ({ name: label, share: score, text: percent(score), swatch: ui.colors.of(label) })),
    { label: "What was read", onHighlight: highlight },
  );
  ui.boxes.show({ ...result, detections: read }, { colors: ui.colors, onHighlight: highlight, onSelect: highlight });
  const labels = read.map(({ label }) => label);
  const few = labels.length && labels.length <= MOST_IN_HEADLINE && labels.join("").length <= MOST_LETTERS;
  const unread = result.found - result.boxes.filter(({ answers }) => Object.keys(answers).length).length;
  return {
    rows,
    announcement: labels.length ? `Read: ${labels.join(", ")}` : "Nothing was found",
    nodes: [
      few
        ? headline(labels.join(" · "), `read in ${plural(read.length, "box", "boxes")}`)
        : headline(labels.length ? plural(labels.length, "thing") : "Nothing", labels.length ? "read" : "found that can be read"),
      labels.length ? rows.node : null,
    ],
    hint: unread > 0 ? `${plural(unread, "other part")} found and not read: too small, or too many.` : "",
  };
}

function showVector(result) {
  const numbers = plural(result.embedding.length, "number");
  return {
    announcement: `The image as a vector of ${numbers}`,
    hint: "",
    nodes: [
      headline(numbers, "a vector of length 1"),
      note("Images that look alike to the network have vectors that point the same way: their dot product is near 1."),
      jsonOf(result),
    ],
  };
}

function showJson(result) {
  return { announcement: "The result is shown as JSON", nodes: [jsonOf(result)], hint: "" };
}

const jsonOf = (result) => el("pre", { class: "json", tabindex: 0, role: "region", "aria-label": "Result as JSON" }, prettyJson(result));

function showMessage(text) {
  return { announcement: text, nodes: [el("p", {}, text)], hint: "" };
}

/** What the network can answer at all: a classifier is sure of one of its labels also where none fits. */
function knownLabels(card) {
  if (!card?.labels?.length) return null;
  const labels = card.labels.filter((_, index) => index !== card.background_id && !isPlaceholder(card.labels[index]));
  const few = labels.length <= MOST_NAMED;
  const names = few ? `: ${labels.join(", ")}` : "";
  const number = plural(labels.length, "label").replace(/^\d+/, (digits) => Number(digits).toLocaleString("en"));
  if (card.task !== "classify" && card.task !== "temporal") return few ? note(`It knows only ${number}${names}.`) : null;
  if (card.multi_label) return note(`It gives each of its ${number}${names} a probability of its own.`);
  return note(`It always answers with one of its ${number}${names}, even if none fits the ${card.task === "temporal" ? "video" : "image"}.`);
}

/** Some lists of labels, like COCO's 91, have ids without a name. */
const isPlaceholder = (label) => ["", "n/a"].includes(label.trim().toLowerCase());

const note = (text) => el("p", { class: "known quiet" }, text);

const covered = (found) =>
  `${percent(found.reduce((sum, { fraction }) => sum + fraction, 0))} of the image`;

function headline(word, below) {
  return el("div", {}, el("h2", { class: "headline" }, word), el("p", { class: "below number" }, below));
}

/** Buttons that request the segmentation as an image and save it as a file. */
function saveButtons(ui) {
  const button = (format, text) => {
    const node = el("button", { class: "button", type: "button" }, text);
    node.addEventListener("click", async () => {
      node.disabled = true;
      try {
        const { image, model } = ui.current();
        const query = { model: model.name, version: model.version, format };
        const response = await ask("v1/segment", { method: "POST", body: image.blob, query });
        download(await response.blob(), `${stem(image.name)}-${format}.png`);
      } catch (error) {
        ui.fail(error);
      } finally {
        node.disabled = false;
      }
    });
    return node;
  };
  return el("div", { class: "actions" }, button("cutout", "Save the cutout"), button("mask", "Save the mask"));
}
