// The list of a result: each row has a name, a number and a bar, and can be pointed at and selected.

import { el, setStyle } from "./dom.js";

export class Rows {
  /** `entries` are {name, share, text, swatch?}, `swatch` as of ClassColors; both callbacks get a row's index, or null for none. */
  constructor(entries, { label, onHighlight, onSelect }) {
    this.buttons = entries.map(({ name, share, text, swatch }, index) => {
      const color = swatch && setStyle(el("i", { class: swatch.dashed ? "swatch dashed" : "swatch" }), { "--box": swatch.fill });
      const button = el(
        "button",
        { class: "row", type: "button", "aria-pressed": onSelect ? "false" : undefined },
        el("span", { class: "name" }, color, name),
        el("span", { class: "number" }, text),
        setStyle(el("span", { class: "bar" }), { "--share": share }),
      );
      for (const [event, at] of [["pointerenter", index], ["pointerleave", null], ["focus", index], ["blur", null]]) {
        button.addEventListener(event, () => onHighlight?.(at));
      }
      if (onSelect) button.addEventListener("click", () => onSelect(this.selected === index ? null : index));
      return button;
    });
    this.selected = null;
    this.node = el("ol", { class: "rows", "aria-label": label }, ...this.buttons.map((each) => el("li", {}, each)));
  }

  highlight(index) {
    this.buttons.forEach((button, each) => button.classList.toggle("highlighted", each === index));
  }

  select(index) {
    this.selected = index;
    this.buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(each === index)));
  }
}
