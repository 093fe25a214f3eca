// What a result cost, and the shell command that requests it again.

import { el, setStyle } from "./dom.js";
import { target } from "./api.js";
import { apiKey } from "./key.js";
import { count, ms } from "./text.js";

/** Stage in `Server-Timing`, opacity of its color, name on the page. */
const STAGES = [
  ["decode", 1, "decode"],
  ["queue", 0.25, "queue"],
  ["infer", 0.7, "network"],
  ["head", 0.45, "head"],
];
const COPIED_MS = 1600;

export function costOf(model, timing) {
  const shown = STAGES.filter(([stage]) => timing[stage] !== undefined);
  const sums = el(
    "p",
    { class: "sums number" },
    model.card.cost ? sum(count(model.card.cost.macs), "MACs") : null,
    sum(ms(timing.total), "total"),
    timing.batch ? sum(timing.batch, timing.batch === 1 ? "image in the batch" : "images in the batch") : null,
  );
  const bar = shown.map(([stage, depth]) => setStyle(el("i"), { "--ms": timing[stage], "--depth": depth }));
  const names = shown.map(([stage, depth, name]) =>
    setStyle(el("span", { class: "number" }, `${name} ${ms(timing[stage])}`), { "--depth": depth }),
  );
  return el(
    "div",
    { class: "cost" },
    sums,
    el("div", { class: "stages", "aria-hidden": "true" }, ...bar),
    el("p", { class: "stages-named" }, ...names),
  );
}

const sum = (value, what) => el("span", {}, el("b", {}, value), ` ${what}`);

/** The same request in a shell. A sample is read from this service, other files from the user's folder. */
export function curlLine(image, path, query) {
  return lineOf(image, path, query, `curl -s ${keyOption()}`);
}

/** The same for a video; it prints one line per frame as it arrives. */
export function curlLineOfVideo(video, path, query) {
  return lineOf(video, path, query, `curl -sN ${keyOption()}-H 'Accept: application/x-ndjson' \\\n  `);
}

function lineOf(image, path, query, curl) {
  const url = quoted(new URL(target(path, query), document.baseURI).href);
  if (image.path) {
    return `curl -s ${quoted(new URL(image.path, document.baseURI).href)} |\n  ${curl}--data-binary @- \\\n  ${url}`;
  }
  return `${curl}--data-binary ${quoted(`@${shellSafe(image.name)}`)} \\\n  ${url}`;
}

/** The key itself stays in the page: the user's shell has it under this name. */
const keyOption = () => (apiKey.get() === null ? "" : '-H "Authorization: Bearer $API_KEY" ');

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/** Control characters in a name could run commands in the user's terminal. */
const shellSafe = (name) => (/[\p{Cc}\p{Cf}\u2028\u2029]/u.test(name) ? "image" : name);

export const curlOf = (line) => el("div", { class: "curl" }, el("code", {}, ...breakable(line)), copyButton(() => line, "Copy", { label: "Copy the curl command" }));

/** A long address may be broken after the marks between its parts. */
const breakable = (line) => line.split(/(?<=[/?&])(?![/?&])/).flatMap((part, place) => (place ? [el("wbr"), part] : [part]));

/** A button that copies `text()`; `hint` is its tooltip. */
export function copyButton(text, name, { hint, label } = {}) {
  const button = el("button", { class: "link", type: "button", title: hint, "aria-label": label }, name);
  button.addEventListener("click", async () => {
    await copy(text());
    button.textContent = "Copied";
    button.removeAttribute("aria-label");
    setTimeout(() => {
      button.textContent = name;
      if (label) button.setAttribute("aria-label", label);
    }, COPIED_MS);
  });
  return button;
}

/** Browsers offer the clipboard only over https and on localhost; elsewhere an older method still works. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = el("textarea", { class: "visually-hidden" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
