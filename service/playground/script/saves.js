// What can be taken away: the result as JSON, the image with the result drawn on it, the explanation's sheet, a link.

import { ask } from "./api.js";
import { copyButton } from "./cost.js";
import { download, el } from "./dom.js";
import { taskOf } from "./results.js";
import { stem } from "./text.js";

const NO_IMAGE = "The link has the task, the model and the options, but not your image.";
const ENDINGS = { "image/png": "png", "image/jpeg": "jpg" };

/**
 * Return the row of buttons. `heatTarget()` gives the query of the chosen class, for the overlay of a classifier;
 * `isSample`: everyone has the image, so that a link shows the same.
 */
export function savesOf({ image, model, path, query, answer, heatTarget, onError }) {
  const task = taskOf(model.card.task);
  const name = (what, ending) => `${stem(image.name)}-${what}.${ending}`;
  const explained = (view, format) => ({ path: "v1/explain", query: { view, model: model.selector, format, ...heatTarget(), ...(view === "cam" ? { score: false } : {}) } });
  const saved = (text, what, request) => {
    const button = el("button", { class: "link", type: "button" }, text);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const { path: at, query: options } = request();
        const response = await ask(at, { method: "POST", body: image.blob, query: options });
        const blob = await response.blob();
        download(blob, name(what, ENDINGS[blob.type] ?? "png"));
      } catch (error) {
        onError(error);
      } finally {
        button.disabled = false;
      }
    });
    return button;
  };
  const json = el("button", { class: "link", type: "button" }, "JSON");
  json.addEventListener("click", () =>
    download(new Blob([`${JSON.stringify(answer, null, 2)}\n`], { type: "application/json" }), name("result", "json")),
  );
  const inside = model.card.stages?.length && task.target;
  return el(
    "div",
    { class: "saves", role: "group", "aria-label": "Save or share" },
    el("span", {}, el("span", { class: "quiet" }, "Save"), json),
    task.layer ? saved("Image", "overlay", () => ({ path, query: { ...query, format: "overlay" } })) : null,
    !task.layer && inside ? saved("Heat map", "heat", () => explained("cam", "overlay")) : null,
    inside ? saved("Sheet", "sheet", () => explained("story", "sheet")) : null,
    el("span", {}, el("span", { class: "quiet" }, "Share"), copyButton(() => location.href, "Copy the link", { hint: image.path ? undefined : NO_IMAGE })),
  );
}
