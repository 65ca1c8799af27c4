// One operation on the page.

import { html, nothing, Part } from "../part.js";
import { actionsOf, bodyOf } from "../actions.js";
import { language, t } from "../i18n.js";
import { progressOf } from "../progress.js";
import { control, getAdvice, serverNow } from "../server.js";
import {
  agoWords, attemptWords, countdownWords, explanationWords, kindWords, needsAdvice, outlineOf, progressWords, sectionOf, stateWords,
  titleOf, warningsOf,
} from "../text.js";
import "./detail.js";

const optional = (role, text, kind = "message", lang = nothing) => (text ? html`<p class=${kind} data-role=${role} lang=${lang}>${text}</p>` : nothing);

// What is asked of the server for each card is asked when it comes near to where a person can see it.
const sight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) target.seen = true;
}, { rootMargin: "300px" });

export class Card extends Part {
  static properties = ["op", "inside", "parts", "access", "seen"];

  #about = null; // what the advice was asked for
  #advice = []; // [{fix, title, text}]
  #adviceLanguage = "";
  #busy = false;
  #asking = false; // whether it is to be cancelled
  #error = "";
  #open = false; // the details
  #fixing = false;
  #ticked = "";
  #focused = null;

  constructor() {
    super();
    this.op = null;
    this.inside = null; // the operation that it is shown under
    this.parts = []; // the operations that are shown under it
    this.access = {};
    this.list = Object.assign(document.createElement("div"), { className: "cards", role: "list" }); // for the cards of its parts
    this.changed = async () => {}; // told of every answer about this operation: {operation} or {retry_id}
  }

  connectedCallback() {
    super.connectedCallback();
    sight.observe(this);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    sight.unobserve(this);
  }

  get heading() {
    return this.querySelector("h3");
  }

  get article() {
    return this.querySelector("article");
  }

  /** Open the details, for who comes by a link. */
  unfold() {
    this.#open = true;
    this.requestUpdate();
  }

  /** Texts that change as time passes. */
  tick(now) {
    if (this.#timed(now) !== this.#ticked) this.requestUpdate();
  }

  #timed(now) {
    return `${countdownWords(this.op, now)} ${agoWords(this.op.updated_at, now)}`;
  }

  willUpdate(changes) {
    const { article } = this;
    this.#focused = article?.contains(document.activeElement) ? document.activeElement : null;
    const before = changes.get("op");
    if (before && before.state !== this.op.state) {
      this.#error = "";
      this.#asking = false;
      if (sectionOf(this.op.state) !== "attention") this.#fixing = false;
    }
    this.#askAdvice();
  }

  updated() {
    // The pressed button may be gone: go on with its neighbour, else with the heading.
    if (this.#focused && (!this.#focused.isConnected || !this.#focused.checkVisibility())) this.#focusSomething();
    const { parts } = this;
    if (parts.length === 0) return;
    const over = [this.op, ...parts].every((op) => sectionOf(op.state) === "finished");
    const fold = this.querySelector(":scope > .parts");
    if (over !== this.over) fold.open = !over;
    this.over = over;
  }

  #focusSomething() {
    const next = [...this.article.querySelectorAll("button")].find((button) => button.checkVisibility());
    (next ?? this.heading).focus({ preventScroll: true });
  }

  render() {
    const { op } = this;
    const now = serverNow();
    const title = titleOf(op);
    const id = `title-${op.operation_id}`;
    const outline = outlineOf(op, this.parts);
    this.#ticked = this.#timed(now);
    const press = (action) => this.#press(action);
    return html`<article class="card" data-operation-id=${op.operation_id} data-state=${op.state} data-group=${sectionOf(op.state)}
        aria-labelledby=${id} aria-busy=${this.#busy ? "true" : "false"}>
      <svg class="icon" aria-hidden="true" focusable="false"><use href="#i-${op.state}"></use></svg>
      <div class="head"><h3 tabindex="-1" id=${id}>${title}</h3>${this.#meta(op, title, now)}</div>
      <div class="body">${this.#body(op, outline, now)}</div>
      ${actionsOf(op, { asking: this.#asking, busy: this.#busy, press })}
      ${this.#warnings(op, title)}
      <div class="alert" data-role="error" role="alert">${this.#error}</div>
      ${this.#fixPart(op, title)}
      <details class="more" data-role="details" ?open=${this.#open} @toggle=${this.#toggle}>
        <summary aria-label=${t("details.of", { title })}>${t("details")}</summary>
        ${this.#open ? html`<recovery-detail .op=${op} .access=${this.access} .advice=${this.#advice} .said=${this.#said()}
          .adviceLanguage=${this.#adviceLanguage}></recovery-detail>` : nothing}
      </details>
    </article>
    <details class="parts" data-role="parts" ?hidden=${this.parts.length === 0}>
      <summary>${this.#partsWords(outline)}</summary>
      ${this.list}
    </details>`;
  }

  #meta(op, title, now) {
    const kind = kindWords(op.kind);
    // A project import is called after its project already.
    const named = op.kind === "create_project" || op.project === this.inside?.project;
    const words = [
      ["attempt", op.state === "success" && op.attempt === 1 ? "" : attemptWords(op)],
      ["kind", kind === title ? "" : kind],
      ["project", op.project && !named ? t("project", { project: op.project }) : ""],
      ["when", sectionOf(op.state) === "active" ? "" : agoWords(op.updated_at, now)],
    ];
    return html`<p class="meta"><span class="state" data-role="state">${stateWords(op)}</span>
      ${words.map(([role, text]) => (text ? html` <span data-role=${role}>${text}</span>` : nothing))}</p>`;
  }

  #body(op, outline, now) {
    const { missing = [], coming = [], finished = [], leftOut = [], total = 0 } = outline ?? {};
    const attention = missing.length > 0;
    const names = (list) => list.join(t("comma"));
    return html`${progressOf(op)}
      ${optional("message", this.#message(op), "message", "en")}
      ${optional("coming", coming.length ? t("coming", { names: names(coming) }) : "")}
      ${attention ? html`<div class="missing" data-role="missing">
        <p data-role="missing-title">${t("missing", { n: missing.length, total })}</p>
        <ul>${missing.map(({ name, reason }) => html`<li><strong>${name}</strong>${reason ? html`${t("colon")}<span lang="en">${reason}</span>` : nothing}</li>`)}</ul>
      </div>` : nothing}
      ${optional("finished", attention && finished.length ? t("finished", { names: names(finished) }) : "")}
      ${optional("left-out", leftOut.length ? t("left_out", { names: names(leftOut) }) : "")}
      ${attention ? nothing : optional("explanation", explanationWords(op), "explanation", "en")}
      ${optional("fix", this.#hint(op), "explanation", this.#adviceLanguage)}
      ${optional("countdown", countdownWords(op, now), "countdown")}`;
  }

  /** What it does, or which of its parts holds it. */
  #message(op) {
    const found = (...states) => this.parts.find(({ state }) => states.includes(state));
    const held = op.state === "in_progress" && !found("in_progress") && found("recovering", "paused");
    if (held) return t("waits_for", { title: titleOf(held) });
    return op.state === "in_progress" ? (progressWords(op)?.message ?? "") : "";
  }

  /** What a person can do; the part that failed says it, and the import around it need not say it again. */
  #hint(op) {
    const inside = this.parts.some(({ state }) => sectionOf(state) === "attention");
    return needsAdvice(op) && !inside ? (this.#adviceOf(op.fix)?.text ?? "") : "";
  }

  #adviceOf(fix) {
    return this.#advice.find((one) => one.fix === fix);
  }

  /** The advice that the card gives already. */
  #said() {
    return [this.op.fix, ...warningsOf(this.op).map(({ fix }) => fix)];
  }

  #warnings(op, title) {
    const warnings = warningsOf(op);
    if (warnings.length === 0) return nothing;
    const hint = (fix) => this.#adviceOf(fix)?.text;
    return html`<ul class="warnings" data-role="warnings" aria-label=${t("warnings", { title })}>
      ${warnings.map(({ message, fix }) => html`<li>${message}${hint(fix) ? html` <span lang=${this.#adviceLanguage}>${hint(fix)}</span>` : nothing}</li>`)}</ul>`;
  }

  #fixPart(op, title) {
    // A server that does not tell who may do what has no fixes to be had.
    const offered = this.access.known && sectionOf(op.state) === "attention" && (op.fixes?.length ?? 1) > 0;
    if (!offered) return nothing;
    const close = () => {
      this.#fixing = false;
      this.requestUpdate();
    };
    return this.#fixing
      ? html`<recovery-fixes .op=${op} .access=${this.access} .changed=${(answer) => this.changed(answer)} @close=${close}></recovery-fixes>`
      : html`<p class="fix-it"><button type="button" data-action="fixes" aria-label=${t("action.on", { action: t("fixes"), title })} @click=${this.#fix}>${t("fixes")}</button></p>`;
  }

  async #fix() {
    await import("./views.js");
    this.#fixing = true;
    this.requestUpdate();
  }

  #partsWords(outline) {
    const done = outline?.done ?? this.parts.filter(({ state }) => state === "success").length;
    return t("parts", { done, n: outline?.total ?? this.parts.length });
  }

  /** Ask what a person can do, once for each time that it comes to need one, or warns of something. */
  async #askAdvice() {
    if (!this.seen) return;
    const { op } = this;
    const warnings = warningsOf(op).map(({ fix }) => fix);
    const wanted = needsAdvice(op) || warnings.some(Boolean);
    const about = wanted ? JSON.stringify([op.state, op.attempt, op.fix, warnings, language]) : null;
    if (about === this.#about) return;
    this.#about = about;
    this.#advice = [];
    if (!wanted) return;
    try {
      const answer = await getAdvice(op.operation_id);
      if (about !== this.#about) return;
      this.#advice = answer.advice;
      this.#adviceLanguage = answer.language;
      this.requestUpdate();
    } catch {
      // Asked again with the next news of it.
      if (about === this.#about) this.#about = null;
    }
  }

  #toggle({ target }) {
    if (target.open === this.#open) return;
    this.#open = target.open;
    this.requestUpdate();
  }

  async #press(action) {
    if (action === "cancel" || action === "keep") {
      this.#asking = action === "cancel";
      this.#focused = null;
      this.requestUpdate();
      await this.updateComplete;
      this.querySelector(`[data-action="${this.#asking ? "confirm-cancel" : "cancel"}"]`).focus();
    } else await this.#send(action === "confirm-cancel" ? "cancel" : action);
  }

  async #send(action) {
    if (this.#busy) return;
    this.#busy = true;
    this.#error = "";
    this.requestUpdate();
    try {
      const answer = await control(this.op.operation_id, action, bodyOf(this.op, action));
      this.#asking = false;
      await this.changed(answer);
    } catch (error) {
      // Most refusals mean that the operation went on meanwhile: show how it stands now.
      if (error.status === 409 || error.status === 404) await this.changed({});
      await this.updateComplete; // a new state takes the old complaint away
      this.#error = error.message;
    }
    this.#busy = false;
    this.requestUpdate();
  }
}

customElements.define("recovery-card", Card);
