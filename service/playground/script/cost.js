// What an answer cost, and the line that asks for it again from a shell.

import { el, vary } from "./dom.js";
import { target } from "./api.js";
import { count, ms } from "./text.js";

const STAGES = [
  ["decode", 1, "decode"],
  ["queue", 0.25, "wait"],
  ["infer", 0.7, "network"],
  ["head", 0.45, "head"],
];
const COPIED_MS = 1600;

export function costOf(model, timing) {
  const shown = STAGES.filter(([stage]) => timing[stage] !== undefined);
  const sums = el(
    "p",
    { class: "sums number" },
    sum(count(model.card.cost.macs), "MACs"),
    sum(ms(timing.total), "in all"),
    timing.batch ? sum(timing.batch === 1 ? "alone" : `1 of ${timing.batch}`, "in its batch") : null,
  );
  const bar = shown.map(([stage, depth]) => vary(el("i"), { "--ms": timing[stage], "--depth": depth }));
  const names = shown.map(([stage, depth, name]) =>
    vary(el("span", { class: "number" }, `${name} ${ms(timing[stage])}`), { "--depth": depth }),
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

/** The same request from a shell; a sample comes from this service, a file from where the reader has it. */
export function curlLine(image, path, query) {
  const url = quoted(new URL(target(path, query), document.baseURI).href);
  if (image.path) {
    return `curl -s ${quoted(new URL(image.path, document.baseURI).href)} |\n  curl -s --data-binary @- \\\n  ${url}`;
  }
  return `curl -s --data-binary ${quoted(`@${shellSafe(image.name)}`)} \\\n  ${url}`;
}

/** The same for a clip, a line a frame as it comes. */
export function clipLine(clip, path, query) {
  const url = quoted(new URL(target(path, query), document.baseURI).href);
  const file = quoted(`@${shellSafe(clip.name)}`);
  return `curl -sN -H 'Accept: application/x-ndjson' \\\n  --data-binary ${file} \\\n  ${url}`;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/** A name with control characters could do in a terminal what nobody asked for. */
const shellSafe = (name) => (/[\p{Cc}\p{Cf}\u2028\u2029]/u.test(name) ? "image" : name);

export function curlOf(line) {
  const button = el("button", { class: "link", type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await copy(line);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
  });
  return el("div", { class: "curl" }, el("code", {}, line), button);
}

/** Browsers lend the clipboard to pages over https and on localhost only; elsewhere an old way still works. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = el("textarea", { class: "unseen" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
