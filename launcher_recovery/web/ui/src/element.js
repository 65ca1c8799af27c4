// What LitElement does for custom elements, as far as those here need it: it and they do not fit into 40 KB together.

import { render } from "lit-html";

/** An element that draws itself anew, soon and once, after any of its `properties` (a list of names) changed. */
export class Drawn extends HTMLElement {
  static properties = [];

  /** Where it draws: itself, or its shadow tree. */
  root = this;
  hasUpdated = false;

  #values = new Map();
  #changes = new Map(); // name → value before
  #waiting = null;

  constructor() {
    super();
    const { prototype, properties } = new.target;
    for (const name of properties) {
      if (Object.hasOwn(prototype, name)) continue;
      Object.defineProperty(prototype, name, {
        get() {
          return this.#values.get(name);
        },
        set(value) {
          const before = this.#values.get(name);
          if (Object.is(before, value)) return;
          this.#values.set(name, value);
          if (!this.#changes.has(name)) this.#changes.set(name, before);
          this.requestUpdate();
        },
      });
    }
  }

  connectedCallback() {
    this.requestUpdate();
  }

  /** Draw soon; the promise is kept when that is done. */
  requestUpdate() {
    this.#waiting ??= Promise.resolve().then(() => this.#draw());
    return this.#waiting;
  }

  /** Kept when nothing is to be drawn. */
  get updateComplete() {
    return this.#waiting ?? Promise.resolve();
  }

  #draw() {
    if (!this.isConnected) {
      this.#waiting = null; // drawn when it is
      return;
    }
    const changes = this.#changes;
    this.#changes = new Map();
    this.willUpdate(changes);
    this.#waiting = null;
    render(this.render(), this.root, { host: this });
    this.updated(changes);
    this.hasUpdated = true;
  }

  /** Called before it is drawn, with what changed: name → value before. */
  willUpdate() {}

  /** Called when it was drawn. */
  updated() {}
}
