// The tensors that the network gets: each channel as an image and in numbers, and the array as a file.

import { ask } from "./api.js";
import { curlOf } from "./cost.js";
import { download, el } from "./dom.js";
import { stem } from "./text.js";

const ABOUT = {
  frame: ["What the file of the network reads", "the image, decoded, turned upright, resized and cropped; whole numbers from 0 to 255"],
  normalized: ["What the first convolution reads", "the same after the mean was subtracted and the result divided, inside the network's file"],
};
const COLORS = ["red", "green", "blue"];

export async function showTensors(body, playground, signal) {
  const chosen = playground.current();
  const { answer } = await playground.explain("input", { thumbnails: true }, signal);
  if (signal.aborted) return;
  const name = `${stem(chosen.image.name)}-${chosen.model.name}`;
  const { name: model, version } = chosen.model;
  body.replaceChildren(
    ...answer.tensors.map((tensor) => tensorOf(tensor, chosen, name)),
    el("h3", {}, "Feed it to the network yourself"),
    curlOf(
      `import numpy, onnxruntime\nnetwork = onnxruntime.InferenceSession("models/${model}/${version}/model.onnx")\nprint(network.run(None, {network.get_inputs()[0].name: numpy.load("${name}-frame.npy")}))`,
    ),
  );
}

function tensorOf(tensor, chosen, name) {
  const [title, text] = ABOUT[tensor.tensor];
  const save = el("button", { class: "button", type: "button" }, `Save ${tensor.tensor}.npy`);
  save.addEventListener("click", () => saveArray(save, tensor.tensor, chosen, `${name}-${tensor.tensor}.npy`));
  const nameOf = (channel) => (tensor.channels.length === 3 ? COLORS[channel] : String(channel));
  const rows = tensor.channels.map(({ channel, thumbnail, min, max, mean, deviation }) =>
    el("tr", {}, el("th", { scope: "row" }, el("span", {}, el("img", { src: thumbnail, alt: "" }), nameOf(channel))), ...[min, max, mean, deviation].map((value) => el("td", { class: "number" }, String(value)))),
  );
  const head = ["Channel", "Least", "Largest", "Mean", "Deviation"].map((text) => el("th", { scope: "col" }, text));
  return el(
    "section",
    { class: "tensor" },
    el("h3", {}, title),
    el("p", { class: "quiet" }, `${tensor.dtype}, ${tensor.shape.join(" × ")} (${tensor.layout}): ${text}.`),
    el("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": title }, el("table", { class: "figures" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))),
    el("div", { class: "actions" }, save),
  );
}

async function saveArray(button, tensor, { image, model }, name) {
  button.disabled = true;
  const query = { view: "input", format: "npy", tensor, model: model.name, version: model.version };
  try {
    download(await (await ask("v1/explain", { method: "POST", body: image.blob, query })).blob(), name);
  } catch (error) {
    button.after(el("p", { role: "alert" }, error.message));
  } finally {
    button.disabled = false;
  }
}
