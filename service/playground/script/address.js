// The state of the page in its address, so that it can be shared, and that the browser's back button works.

const NAMES = ["task", "model", "sample", "threshold", "opacity"];

let started = false; // the first state only completes the address that was opened

/** Return {task, model, sample, threshold, opacity} of the address; what it does not say is undefined. */
export function readAddress() {
  const search = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, search.get(name) ?? undefined]));
}

/**
 * Write the state into the address. Another task, model or sample is a step of its own in the browser's history;
 * a changed option is not. `own`: the image is the user's, which no address can say.
 */
export function writeAddress(state, { own = false } = {}) {
  const given = NAMES.filter((name) => state[name] !== undefined && state[name] !== null);
  const search = `?${new URLSearchParams(given.map((name) => [name, state[name]]))}`;
  if (search === location.search && own === Boolean(history.state?.own)) return;
  const before = readAddress();
  const step = started && (own !== Boolean(history.state?.own) || ["task", "model", "sample"].some((name) => before[name] !== state[name]));
  started = true;
  history[step ? "pushState" : "replaceState"]({ own }, "", search);
}

/** Call `onState(state, own)` when the user goes back or forward. */
export function listenForHistory(onState) {
  addEventListener("popstate", () => onState(readAddress(), Boolean(history.state?.own)));
}
