// One request of a kind at a time: a newer one aborts the older, so that no stale result is shown.

export class Latest {
  #controller = null;

  /** Run `work(signal)`; resolve to undefined if a newer `run` or `cancel` aborted it. */
  async run(work) {
    this.cancel();
    const controller = new AbortController();
    this.#controller = controller;
    try {
      const result = await work(controller.signal);
      return controller.signal.aborted ? undefined : result;
    } catch (error) {
      if (controller.signal.aborted) return undefined;
      throw error;
    }
  }

  cancel() {
    this.#controller?.abort();
    this.#controller = null;
  }
}
