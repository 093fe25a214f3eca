// What went wrong, told kindly: what it is, what to do, and the code to ask about.

import { el } from "./dom.js";

export function troubleOf(error, again) {
  const known = error.code !== undefined;
  return el(
    "div",
    { class: "trouble", role: "alert" },
    el("p", { class: "headline" }, known ? error.title : "The page failed"),
    el("p", {}, error.message),
    el("code", {}, known ? error.code : error.name),
    (error.retry || !known) && again
      ? el("div", { class: "actions" }, el("button", { class: "button", type: "button", onclick: again }, "Try again"))
      : null,
  );
}
