// The service, spoken to: every answer with its timing, every failure as one kind of error.

/** What went wrong, as the service's problem+json says it. */
export class Problem extends Error {
  constructor({ title, detail, code, retry = false }) {
    super(detail);
    Object.assign(this, { title, code, retry });
  }
}

export const isAbort = (error) => error?.name === "AbortError";

/** Fetch, and throw a Problem unless the answer is good. */
export async function ask(path, { query = {}, ...init } = {}) {
  const response = await reach(target(path, query), init);
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** POST an image; return {answer, timing} of JSON. */
export async function post(path, image, query, signal) {
  const response = await ask(path, { method: "POST", body: image, query, signal });
  return { answer: await response.json(), timing: timingOf(response) };
}

/** POST a clip; yield each event as its line arrives. */
export async function* lines(path, clip, query, signal) {
  const headers = { Accept: "application/x-ndjson" };
  const response = await ask(path, { method: "POST", body: clip, headers, query, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

/** The path with its query; what is null or undefined is left out. */
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

async function reach(url, init) {
  try {
    return await fetch(url, init);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Problem({
      title: "The service does not answer",
      detail: init.body
        ? "It may have stopped, the way to it may be cut, or the file is larger than it takes."
        : "It may have stopped, or the way to it may be cut.",
      code: "no_answer",
      retry: true,
    });
  }
}

async function problemOf(response) {
  try {
    const told = await response.json();
    return new Problem({ ...told, retry: response.status >= 500 });
  } catch {
    return new Problem({
      title: "The service failed",
      detail: "What it answered can not be read.",
      code: `http_${response.status}`,
      retry: true,
    });
  }
}
