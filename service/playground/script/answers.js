// A task's JSON → what is said, listed and drawn over the image. The tasks differ here and nowhere else.

import { ask } from "./api.js";
import { download, el, slider } from "./dom.js";
import { segmentColor } from "./mask.js";
import { Rows } from "./rows.js";
import { percent, plural, stem } from "./text.js";

/** Each task: its path, what its query asks, and how a result is shown on `bench` (its layers, options and wishes). */
export const ANSWERS = {
  classify: {
    query: () => ({ top_k: null }),
    show: showClasses,
    subject: (result, index) => ({ class: result.predictions[index].class_id }),
    named: (result, index) => result.predictions[index].label,
  },
  detect: {
    query: ({ threshold }) => ({ score_threshold: threshold }),
    show: showDetections,
    subject: (_, index) => ({ box: index }),
    named: (result, index) => result.detections[index].label,
  },
  segment: {
    query: () => ({}),
    show: showSegments,
    subject: (result, index) => ({ class: result.segments[index].class_id }),
    named: (result, index) => result.segments[index].label,
  },
};

function showClasses(result, bench) {
  const [best] = result.predictions;
  const rows = new Rows(
    result.predictions.map(({ label, probability }) => ({ name: label, share: probability, said: percent(probability) })),
    { label: "Class probabilities", picked: bench.pick },
  );
  return {
    rows,
    spoken: `${best.label}, ${percent(best.probability)}`,
    nodes: [headline(best.label, `${percent(best.probability)} sure`), rows.node],
    hint: "Choose a class to see which places speak for it.",
  };
}

function showDetections(result, bench) {
  const found = result.detections;
  const light = (index) => {
    rows.light(index);
    bench.boxes.light(index);
  };
  const rows = new Rows(
    found.map(({ label, score }) => ({ name: label, share: score, said: percent(score) })),
    { label: "Detections", lit: light, picked: bench.pick },
  );
  bench.boxes.show(result, { lit: light, picked: (index) => bench.pick?.(rows.pressed === index ? null : index) });
  const threshold = slider({
    label: "Least score",
    min: 0.05,
    max: 0.95,
    step: 0.05,
    value: bench.options.threshold,
    show: (value) => value.toFixed(2),
    onrest: bench.setThreshold,
  });
  const things = found.length ? plural(found.length, "thing") : "Nothing";
  return {
    rows,
    spoken: `${things} found${found.length ? `: ${found.map(({ label }) => label).join(", ")}` : ""}`,
    nodes: [
      headline(things, found.length ? "found" : "scores that high; the slider asks for less"),
      found.length ? rows.node : null,
      el("div", { class: "tools" }, threshold),
    ],
    hint: found.length ? "Choose a thing to see what made the network find it." : "",
  };
}

function showSegments(result, bench) {
  const found = result.segments;
  const light = (index) => {
    rows.light(index);
    bench.mask.light(index);
  };
  const rows = new Rows(
    found.map(({ label, fraction }, index) => ({
      name: label,
      share: fraction,
      said: percent(fraction),
      swatch: segmentColor(index, found.length),
    })),
    { label: "Areas", lit: light, picked: bench.pick },
  );
  bench.mask.show(result, light);
  const opacity = slider({
    label: "Mask",
    min: 0,
    max: 1,
    step: 0.01,
    value: bench.mask.opacity,
    show: (value) => `${Math.round(value * 100)} %`,
    onpull: (value) => bench.mask.setOpacity(value),
  });
  const [largest] = found;
  return {
    rows,
    spoken: largest ? `${largest.label}, ${percent(largest.fraction)} of the image` : "Nothing but background",
    nodes: [
      largest
        ? headline(found.length === 1 ? largest.label : plural(found.length, "area"), covered(found))
        : headline("Nothing", "but background"),
      found.length ? rows.node : null,
      // A clip has no cut-out: its frames are many.
      el("div", { class: "tools" }, opacity, bench.asked ? renderings(bench) : null),
    ],
    hint: found.length ? "Choose an area to see which places speak for it." : "",
  };
}

const covered = (found) =>
  `${percent(found.reduce((sum, { fraction }) => sum + fraction, 0))} of the image`;

function headline(word, under) {
  return el("div", {}, el("p", { class: "headline" }, word), el("p", { class: "under number" }, under));
}

/** Buttons that fetch the segmentation as an image and hand it over as a file. */
function renderings(bench) {
  const button = (format, text) => {
    const node = el("button", { class: "button", type: "button" }, text);
    node.addEventListener("click", async () => {
      node.disabled = true;
      try {
        const { image, model } = bench.asked();
        const query = { model: model.name, version: model.version, format };
        const response = await ask("v1/segment", { method: "POST", body: image.blob, query });
        download(await response.blob(), `${stem(image.name)}-${format}.png`);
      } catch (error) {
        bench.fail(error);
      } finally {
        node.disabled = false;
      }
    });
    return node;
  };
  return el("div", { class: "actions" }, button("cutout", "Save the cut-out"), button("mask", "Save the mask"));
}
