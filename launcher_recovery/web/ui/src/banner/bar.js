// The bar at the bottom of the launcher's pages: how much goes on, and what has no card of its own there.

import { html, nothing } from "lit-html";
import { language, t } from "../i18n.js";
import { problemWords } from "../text.js";
import { dueWords } from "./line.js";
import { Guest } from "./look.js";

const MOST = 3;

export class Bar extends Guest {
  static properties = ["groups", "problems", "lines", "shown"];

  constructor() {
    super();
    this.groups = [];
    this.problems = []; // [{code, message}]
    this.lines = []; // lines of projects that have no card
    this.shown = false;
    this.home = "";
    this.hide = () => {};
  }

  #counts(withDue) {
    const of = (state) => this.groups.filter((group) => group.state === state);
    const [running, waiting, needing] = ["running", "waiting", "needing"].map(of);
    const due = withDue ? dueWords(Math.min(...waiting.map((group) => group.due ?? Infinity))) : "";
    return [
      running.length ? t("banner.running", { n: running.length }) : "",
      waiting.length ? t(due ? "banner.waiting.due" : "banner.waiting", { n: waiting.length, when: due }) : "",
      needing.length ? t("banner.needing", { n: needing.length }) : "",
    ].filter(Boolean).join(t("comma"));
  }

  render() {
    const states = new Set(this.groups.map(({ state }) => state));
    const worst = this.problems.length || states.has("needing") ? "needing" : states.has("running") ? "running" : "waiting";
    const counts = this.#counts(true);
    const said = this.problems.map(problemWords).join(" ");
    const more = this.lines.length - MOST;
    // Without the countdown, which would be read out every second.
    const heard = this.shown ? [t("banner.name"), this.#counts(false), said].filter(Boolean).join(". ") : "";
    return html`<section class=${this.look("bar", worst)} lang=${language} aria-label=${t("banner.name")} ?hidden=${!this.shown}>
        <div class="words"><a class="counts" href=${this.home}><span class="name">${t("banner.name")}</span><span>${counts && t("colon") + counts}</span></a>
          ${said ? html`<div>${said}</div>` : nothing}
          ${this.lines.slice(0, MOST)}
          ${more > 0 ? html`<a class="more" href=${this.home}>${t("banner.more", { n: more })}</a>` : nothing}</div>
        <button type="button" class="hide" title=${t("banner.hide")} aria-label=${t("banner.hide")} @click=${this.hide}>×</button>
      </section><div class="heard" role="status">${heard}</div>`;
  }
}
