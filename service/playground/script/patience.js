// A busy service says so at once, and usually has room again a second later: ask again before giving up.

const RETRIES = 3;
const WAIT_MS = 1_000;

/** Return what `send()` resolves to; repeat it a few times while the service is overloaded, until `signal` aborts. */
export async function patiently(send, signal) {
  for (let left = RETRIES; ; left--) {
    try {
      return await send();
    } catch (error) {
      if (error.code !== "overloaded" || left === 0) throw error;
      await pause(signal);
    }
  }
}

function pause(signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, WAIT_MS);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
