// Elements from names, attributes and text. Text of files and labels is never parsed as markup.

export const byId = (id) => document.getElementById(id);

/** Return an element. Attributes named `on…` are listeners; `false` and `undefined` leave an attribute out. */
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

/** Set style properties from script, which the page's content security policy allows. */
export function setStyle(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
  return node;
}

/** Return a labeled slider; `onInput(value)` runs while it moves, `onChange(value)` when it is released. */
export function slider({ label, min, max, step, value, format, onInput, onChange }) {
  const output = el("output", { class: "number quiet" }, format(value));
  const input = el("input", { type: "range", min, max, step, value, "aria-label": label });
  const paint = () => {
    output.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    setStyle(input, { "--share": `${((input.value - min) / (max - min)) * 100}%` });
  };
  input.addEventListener("input", () => {
    paint();
    onInput?.(Number(input.value));
  });
  input.addEventListener("change", () => onChange?.(Number(input.value)));
  paint();
  return el("label", { class: "slider" }, el("span", {}, label), input, output);
}

/** Let the browser save a blob as a file. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
