// Elements from names, attributes and text. Whatever a file or a label says arrives as text and stays text.

export const byId = (id) => document.getElementById(id);

/** Return an element; attributes named `on…` are listeners, `false` and `undefined` leave an attribute out. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Set custom properties: the one kind of inline style that a strict policy and clean markup agree on. */
export function vary(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
  return node;
}

/** Return a labeled slider; `onpull(value)` runs while it moves. */
export function slider({ label, min, max, step, value, show, onpull, onrest }) {
  const output = el("output", { class: "number quiet" }, show(value));
  const input = el("input", { type: "range", min, max, step, value, "aria-label": label });
  const paint = () => {
    output.textContent = show(Number(input.value));
    vary(input, { "--share": `${((input.value - min) / (max - min)) * 100}%` });
  };
  input.addEventListener("input", () => {
    paint();
    onpull?.(Number(input.value));
  });
  input.addEventListener("change", () => onrest?.(Number(input.value)));
  paint();
  return el("label", { class: "slider" }, el("span", {}, label), input, output);
}

/** Hand a blob to the user as a file. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
