// An error as the page shows it: what happened, what to do, and the code to look up.

import { el } from "./dom.js";

/** Return the panel of an error; `retry` is called by its button, which only errors that may pass have. */
export function failureOf(error, retry) {
  const known = error.code !== undefined;
  return el(
    "div",
    { class: "failure", role: "alert" },
    el("p", { class: "headline" }, known ? error.title : "The page failed"),
    el("p", {}, error.message),
    el("code", {}, known ? error.code : error.name),
    (error.retry || !known) && retry
      ? el("div", { class: "actions" }, el("button", { class: "button", type: "button", onclick: retry }, "Try again"))
      : null,
  );
}

/** What an error of an explanation says, without the name of the parameter that an API client would change. */
export const plainly = ({ message }) => message.replace(/^(view|filter|row|column|arrays|stage|channel): /, "");
