// The answer's list: each row a name, a number and a hairline bar, to point at and to choose.

import { el, vary } from "./dom.js";

export class Rows {
  /** `entries` are {name, share, said, swatch?}; `lit(index | null)` and `picked(index | null)` hear the reader. */
  constructor(entries, { label, lit, picked }) {
    this.buttons = entries.map(({ name, share, said, swatch }, index) => {
      const color = swatch && vary(el("i", { class: "swatch" }), { background: swatch });
      const button = el(
        "button",
        { class: "row", type: "button", "aria-pressed": picked ? "false" : undefined },
        el("span", { class: "name" }, color, name),
        el("span", { class: "number" }, said),
        vary(el("span", { class: "bar" }), { "--share": share }),
      );
      const light = (at) => () => lit?.(at);
      for (const [event, at] of [["pointerenter", index], ["pointerleave", null], ["focus", index], ["blur", null]]) {
        button.addEventListener(event, light(at));
      }
      if (picked) button.addEventListener("click", () => picked(this.pressed === index ? null : index));
      return button;
    });
    this.pressed = null;
    this.node = el("ol", { class: "rows", "aria-label": label }, ...this.buttons.map((each) => el("li", {}, each)));
  }

  light(index) {
    this.buttons.forEach((button, each) => button.classList.toggle("lit", each === index));
  }

  press(index) {
    this.pressed = index;
    this.buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(each === index)));
  }
}
