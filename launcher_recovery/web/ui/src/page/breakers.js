// What the page knows of circuit breakers: one record each, changed only by newer news.

export class Breakers {
  #known = new Map(); // scope and kind → {…, until, seq}

  /** All that are not closed. */
  get open() {
    return [...this.#known.values()].filter(({ state }) => state !== "closed");
  }

  clear() {
    this.#known.clear();
  }

  /** Take one as it was at the server's time `at`, in milliseconds. */
  take(breaker, seq, at) {
    const key = `${breaker.scope} ${breaker.operation_type}`;
    if (this.#known.get(key)?.seq > seq) return;
    this.#known.set(key, { ...breaker, seq, until: at + 1000 * (breaker.timeout_remaining ?? 0) });
  }

  /** Take all there are: what is not among them is gone. */
  load(breakers, seq, at) {
    for (const [key, known] of this.#known) if (known.seq <= seq) this.#known.delete(key);
    for (const breaker of breakers) this.take(breaker, seq, at);
  }
}
