// A request with every option of the task, as the service's own description lists them, and the answer as it is.

import { ask, timingOf } from "./api.js";
import { curlLine, curlOf } from "./cost.js";
import { download, el } from "./dom.js";
import { ms, prettyJson, stem } from "./text.js";

/** The page sets these itself. */
const OWN = new Set(["model", "version"]);
let described = null;

export async function showRequest(body, playground, signal) {
  const chosen = playground.current();
  const path = `v1/${chosen.model.card.task}`;
  described ??= await (await ask("openapi.json", { signal })).json();
  const parameters = (described.paths[`/${path}`]?.post.parameters ?? []).filter((each) => each.in === "query" && !OWN.has(each.name));
  const fields = parameters.map(fieldOf);
  const answer = el("div", { class: "detail", "aria-live": "polite" });
  const form = el("form", { class: "options" }, ...fields.map(({ node }) => node), el("button", { class: "button", type: "submit" }, "Send the request"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries(fields.map(({ name, read }) => [name, read()]).filter(([, value]) => value !== ""));
    send(answer, path, { model: chosen.model.name, version: chosen.model.version, ...given }, chosen.image);
  });
  const none = parameters.length ? "" : el("p", { class: "quiet" }, "This task has no options.");
  body.replaceChildren(none, form, answer);
  await send(answer, path, { model: chosen.model.name, version: chosen.model.version }, chosen.image, signal);
}

function fieldOf({ name, schema, description }) {
  const kinds = schema.anyOf ?? [schema];
  const kind = kinds.find(({ type }) => type !== "null");
  const by = schema.default ?? "";
  const chosen = kind.enum ?? (kind.type === "boolean" ? ["true", "false"] : null);
  const usual = Array.isArray(by) ? by.join(",") : String(by);
  const input = chosen
    ? el("select", {}, el("option", { value: "" }, usual ? `${usual} (default)` : "default"), ...chosen.filter((one) => one !== usual).map((one) => el("option", { value: one }, one)))
    : ["integer", "number"].includes(kind.type)
      ? el("input", { type: "number", min: kind.minimum, max: kind.maximum, step: kind.type === "integer" ? 1 : "any", placeholder: usual || "default" })
      : el("input", { type: "text", placeholder: usual || "default", autocomplete: "off", spellcheck: "false" });
  const id = `option-${name}`;
  input.setAttribute("aria-describedby", id);
  const node = el("div", { class: "option" }, el("label", {}, el("code", {}, name), input), el("p", { class: "quiet", id }, description.replaceAll("`", "")));
  return { name, node, read: () => input.value };
}

async function send(body, path, query, image, signal) {
  body.setAttribute("aria-busy", "true");
  try {
    const response = await ask(path, { method: "POST", body: image.blob, query, signal });
    const blob = await response.blob();
    const timing = response.headers.get("server-timing") ?? "";
    const type = response.headers.get("content-type");
    body.replaceChildren(
      curlOf(curlLine(image, path, query)),
      el("p", { class: "quiet number" }, `${response.status}, ${type}, ${blob.size.toLocaleString("en")} bytes, ${ms(timingOf(response).total ?? 0)} in the service. Server-Timing: ${timing}`),
      await contentOf(blob, type),
      el("div", { class: "actions" }, el("button", { class: "button", type: "button", onclick: () => download(blob, `${stem(image.name)}.${type.split(/[/;]/)[1].replace("octet-stream", "bin")}`) }, "Save the answer")),
    );
  } catch (error) {
    if (!signal?.aborted) body.replaceChildren(curlOf(curlLine(image, path, query)), el("p", { role: "alert" }, error.message), el("code", {}, error.code ?? ""));
  }
  body.removeAttribute("aria-busy");
}

async function contentOf(blob, type) {
  if (type.startsWith("application/json")) {
    return el("pre", { class: "json", tabindex: 0, role: "region", "aria-label": "Answer as JSON" }, prettyJson(JSON.parse(await blob.text())));
  }
  if (!type.startsWith("image/")) return el("p", {}, "The answer is binary.");
  const image = el("img", { class: "answer", src: URL.createObjectURL(blob), alt: "The answer as an image" });
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  return image;
}
