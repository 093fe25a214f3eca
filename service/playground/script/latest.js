// One question of a kind at a time: a newer one ends the older, so that no stale answer is ever shown.

export class Latest {
  #controller = null;

  /** Run `work(signal)`; resolve to undefined where a newer question or `cancel` came first. */
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
