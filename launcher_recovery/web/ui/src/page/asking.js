// A part of the page that shows what one path of the API answers.

import { html, nothing, Part } from "../part.js";
import { t } from "../i18n.js";
import { get } from "../server.js";

export class Asking extends Part {
  found = null; // the answer
  #problem = null;

  /** The path, and what is asked for. */
  get asked() {
    return ["", {}];
  }

  /** What an answer looks like. */
  shown() {
    return nothing;
  }

  connectedCallback() {
    super.connectedCallback();
    this.look();
  }

  /** Ask, again. */
  async look() {
    try {
      this.found = await get(...this.asked);
      this.#problem = null;
    } catch (error) {
      this.#problem = error;
    }
    this.requestUpdate();
  }

  render() {
    const problem = this.#problem;
    if (problem) {
      // A server that is older than this page is no fault that a person could mend.
      return problem.isMissing ? html`<p class="empty" data-role="not-there">${t("view.missing")}</p>` : html`<div class="banner alert" role="alert">${problem.message}</div>`;
    }
    return this.found ? this.shown() : html`<p class="loading">${t("loading")}</p>`;
  }
}
