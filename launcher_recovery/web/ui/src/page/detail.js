// What is behind "Details" of an operation: its attempts, steps, facts and events.

import { html, nothing, Part, svg } from "../part.js";
import { t } from "../i18n.js";
import { addressOf, getOperation, of, serverNow } from "../server.js";
import { attemptSentence, durationWords, eventWords, packagesOf, spaced, timeWords } from "../text.js";

const WIDTH = 600;
const LEAST = 4; // of an attempt's width, so that short ones are seen

export class Detail extends Part {
  static properties = ["op", "access", "advice", "said", "adviceLanguage"];

  #wanted = "";
  #found = null; // with attempts, steps, events
  #error = "";

  willUpdate() {
    const wanted = `${this.op.operation_id} ${this.op.state} ${this.op.attempt}`;
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.#load(wanted);
  }

  async #load(wanted) {
    try {
      const { operation } = await getOperation(this.op.operation_id);
      if (wanted !== this.#wanted) return;
      this.#found = operation;
      this.#error = "";
    } catch (error) {
      if (wanted !== this.#wanted) return;
      this.#wanted = "";
      this.#error = error.message;
    }
    this.requestUpdate();
  }

  render() {
    return html`<dl>${this.#facts().map(([name, value]) => html`<div><dt>${t(`fact.${name}`)}</dt><dd>${value}</dd></div>`)}</dl>
      <div data-role="history">${this.#history()}</div>
      ${this.#events()}
      ${this.access.known ? html`<p class="bundle"><a data-action="bundle" download href=${addressOf(of(this.op.operation_id, "/bundle"))}>${t("bundle")}</a>
        <span class="soft">${t("bundle.hint")}</span></p>` : nothing}`;
  }

  #facts() {
    const { op } = this;
    const fix = op.fix && op.fix !== "none" && (this.advice.find((one) => one.fix === op.fix)?.title ?? spaced(op.fix));
    return [
      ["error", op.error],
      ["category", op.category && spaced(op.category)],
      ["fix", fix],
      ["project", op.project],
      ["started", op.created_at && timeWords(op.created_at)],
      ["changed", op.updated_at && timeWords(op.updated_at)],
      ["took", op.duration > 0 ? durationWords(op.duration) : null],
      ["function", op.function_name],
      ["key", op.key],
      ["id", op.operation_id],
      ["parent", op.parent_id],
    ].filter(([, value]) => value);
  }

  #history() {
    if (!this.#found) return this.#error || t("attempts.loading");
    const { attempts = [], steps = [] } = this.#found;
    const other = this.advice.filter(({ fix }) => !this.said.includes(fix)).map(({ title, text }) => `${title}${t("colon")}${text}`);
    return html`<h4>${t("attempts")}</h4>
      ${attempts.length ? html`${timeline(attempts)}<ol>${attempts.map(attemptItem)}</ol>` : html`<p>${t("attempts.none")}</p>`}
      ${list(t("steps"), steps.map(({ name }) => spaced(name)))}
      ${list(t("packages"), packagesOf(this.#found))}
      ${list(t("other_advice"), other, this.adviceLanguage)}`;
  }

  #events() {
    const events = this.#found?.events ?? [];
    if (events.length === 0) return nothing;
    return html`<details class="events"><summary>${t("events")}</summary>
      <table><tbody>${events.map(({ event, data }) => html`<tr><td>${timeWords(data.timestamp)}</td><td>${eventWords(event, data)}</td></tr>`)}</tbody></table></details>`;
  }
}

function list(title, texts, lang = nothing) {
  return texts.length ? html`<h4>${title}</h4><ul lang=${lang}>${texts.map((text) => html`<li>${text}</li>`)}</ul>` : nothing;
}

function attemptItem(attempt) {
  return html`<li value=${attempt.number} data-outcome=${attempt.outcome ?? "running"}>${attemptSentence(attempt)}
    ${attempt.traceback ? html`<details><summary>${t("technical")}</summary><pre tabindex="0">${attempt.traceback}</pre></details>` : nothing}</li>`;
}

/** The attempts as they lie in time, with the waits between them. */
function timeline(attempts) {
  const spans = attempts.map(({ started_at: from, ended_at: to, outcome }) => ({ from: Date.parse(from), to: Date.parse(to ?? "") || serverNow(), outcome }));
  const start = Math.min(...spans.map(({ from }) => from));
  const whole = Math.max(1, Math.max(...spans.map(({ to }) => to)) - start);
  if (!Number.isFinite(whole)) return nothing;
  const place = (time) => ((time - start) / whole) * (WIDTH - LEAST);
  const label = t("attempts.line", { n: attempts.length, time: durationWords(whole / 1000) });
  return html`<svg class="timeline" viewBox="0 0 ${WIDTH} 16" preserveAspectRatio="none" role="img" aria-label=${label}>
    <rect class="ground" x="0" y="6" width=${WIDTH} height="4"></rect>
    ${spans.map(({ from, to, outcome }) => svg`<rect class="span" data-outcome=${outcome ?? "running"} x=${place(from).toFixed(1)} y="1"
      width=${Math.max(LEAST, place(to) - place(from)).toFixed(1)} height="14"></rect>`)}
  </svg>`;
}

customElements.define("recovery-detail", Detail);
