// The API key, where the service needs one: asked for once, and kept for this tab only.

import { byId, el } from "./dom.js";

const NAME = "foveal-key";
let fallback = null; // where the browser allows no storage
let typed = ""; // into a form that another refusal may replace before it is sent

export const apiKey = {
  get() {
    try {
      return sessionStorage.getItem(NAME) ?? fallback;
    } catch {
      return fallback;
    }
  },
  set(key) {
    fallback = key;
    try {
      if (key === null) sessionStorage.removeItem(NAME);
      else sessionStorage.setItem(NAME, key);
    } catch {
      // It is kept until the page is left.
    }
  },
};

/** The headers of a request: with the key, where there is one. */
export function withKey(headers) {
  const key = apiKey.get();
  return key === null ? headers : { ...headers, Authorization: `Bearer ${key}` };
}

export const needsKey = (error) => error?.code === "unauthorized";

/** Return the form that asks for a key; `onKey` is called when there is one. */
export function keyForm(error, onKey) {
  const input = el("input", { type: "password", name: "key", autocomplete: "off", spellcheck: "false", required: true, pattern: "[!-~]+", title: "A key has no spaces" });
  input.value = typed; // no attribute, which the page's source would show
  input.addEventListener("input", () => {
    typed = input.value;
  });
  const form = el(
    "form",
    { class: "failure key" },
    el("p", { class: "headline" }, "This service needs a key"),
    el("p", { role: "alert" }, apiKey.get() === null ? "Its operator gives you one." : error.message),
    el("label", {}, el("span", {}, "API key"), input),
    el("p", { class: "quiet" }, "It is kept in this tab only, until you close it."),
    el("div", { class: "actions" }, el("button", { class: "button", type: "submit" }, "Use this key")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apiKey.set(input.value);
    typed = "";
    onKey();
  });
  return form;
}

/** Say who may use the service: everyone, or those with a key, which this tab can forget. */
export function showAccess(onForget) {
  const line = byId("access");
  line.hidden = false;
  if (apiKey.get() === null) {
    line.replaceChildren("No key is needed: everyone who reaches this address may use this service.");
    return;
  }
  const button = el("button", { class: "link", type: "button" }, "Forget the key");
  button.addEventListener("click", () => {
    apiKey.set(null);
    line.hidden = true;
    onForget();
  });
  line.replaceChildren("This tab uses an API key. ", button);
}
