// Requests to the service: each answer with its timing, each failure as one kind of error.

import { withKey } from "./key.js";
import { record } from "./timings.js";

/** An error, with the fields of the service's problem+json. `retry`: the same request may succeed later. */
export class Problem extends Error {
  constructor({ title, detail, code, retry = false }) {
    super(detail);
    Object.assign(this, { title, code, retry });
  }
}

export const isAbort = (error) => error?.name === "AbortError";

/** Fetch; throw a Problem unless the status is 2xx. */
export async function ask(path, { query = {}, ...init } = {}) {
  const response = await send(target(path, query), init);
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** POST an image; return {answer, timing}: the JSON and the milliseconds of each stage. `timeoutMs` is its deadline. */
export async function post(path, image, query, signal, timeoutMs) {
  const headers = timeoutMs === undefined ? {} : { "X-Timeout-Ms": String(timeoutMs) };
  const began = performance.now();
  const response = await ask(path, { method: "POST", body: image, headers, query, signal });
  const [answer, timing] = [await response.json(), timingOf(response)];
  record({ path, model: query.model, total: performance.now() - began, timing });
  return { answer, timing };
}

/** POST a video; yield each event as its line arrives. */
export async function* lines(path, video, query, signal) {
  const headers = { Accept: "application/x-ndjson" };
  const response = await ask(path, { method: "POST", body: video, headers, query, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let unfinished = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const complete = (unfinished + value).split("\n");
    unfinished = complete.pop();
    for (const line of complete) yield JSON.parse(line);
  }
}

/** The path with its query; parameters that are null or undefined are left out. */
export function target(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const search = new URLSearchParams(given).toString();
  return search ? `${path}?${search}` : path;
}

/** `decode;dur=3.1, batch;desc=2` → {decode: 3.1, batch: 2}. */
export function timingOf(response) {
  const parts = (response.headers.get("server-timing") ?? "").matchAll(/([\w-]+);(?:dur|desc)="?([\d.]+)/g);
  return Object.fromEntries(Array.from(parts, ([, name, value]) => [name, Number(value)]));
}

async function send(url, init) {
  try {
    return await fetch(url, { ...init, headers: withKey(init.headers) });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Problem({
      title: "The service does not answer",
      detail: init.body
        ? "It may have stopped, the connection may be broken, or the file may be too large."
        : "It may have stopped, or the connection may be broken.",
      code: "no_answer",
      retry: true,
    });
  }
}

async function problemOf(response) {
  try {
    const problem = await response.json();
    return new Problem({ ...problem, retry: response.status >= 500 });
  } catch {
    return new Problem({
      title: "The service failed",
      detail: "Its answer can not be read.",
      code: `http_${response.status}`,
      retry: true,
    });
  }
}
