// How long this page's own requests took: kept for the histogram of latencies.

const MOST = 2000;
let kept = [];
const listeners = new Set();

/** Keep one request: its path and model, the milliseconds until its answer was read, and the service's own parts. */
export function record(measured) {
  kept = [...kept.slice(1 - MOST), measured];
  for (const listener of listeners) listener();
}

export const measuredOf = (path, model) => kept.filter((each) => each.path === path && each.model === model);

export const onMeasured = (listener) => listeners.add(listener);
