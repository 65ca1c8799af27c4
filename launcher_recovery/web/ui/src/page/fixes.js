// The guided fixes of an operation: what each would do, doing it with one click, and undoing it.

import { html, nothing, Part } from "../part.js";
import { language, t } from "../i18n.js";
import { get, of, send } from "../server.js";
import { timeWords, titleOf } from "../text.js";

const TYPES = { secret: "password", bool: "checkbox" };

/** What is in the form of a fix: an empty field is not given. */
function valuesOf(form) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.type === "checkbox") values[field.name] = field.checked;
    else if (field.value !== "") values[field.name] = field.value;
  }
  return values;
}

export class Fixes extends Part {
  static properties = ["op", "access"];

  #about = "";
  #fixes = null; // null: not known yet
  #applied = [];
  #previews = new Map(); // fix → {preview, parameters}
  #error = "";
  #wrong = null; // the parameter that the last error is about: {fix, name, message}
  #busy = false;

  constructor() {
    super();
    this.changed = async () => {}; // told of every answer: {operation}
  }

  willUpdate() {
    const about = `${this.op.operation_id} ${this.op.state} ${this.op.attempt} ${language}`;
    if (about === this.#about) return;
    this.#about = about;
    this.#load();
  }

  updated() {
    if (!this.hasUpdated) this.querySelector("h4").focus();
  }

  async #load() {
    try {
      const answer = await get(of(this.op.operation_id, "/fixes"), { language });
      this.#fixes = answer.fixes;
      this.#applied = answer.applied ?? [];
      this.#previews.clear();
      // One click does what needs no answers: what that is, is said at once.
      const simple = this.#fixes.filter((fix) => fix.can_apply && fix.parameters.length === 0);
      if (this.access.trusted) await Promise.all(simple.map((fix) => this.#ask(fix.id, {}).catch(() => {})));
    } catch (error) {
      this.#fixes = [];
      this.#error = error.isMissing ? "" : error.message;
    }
    this.requestUpdate();
  }

  async #ask(fix, parameters) {
    const { preview } = await send(of(this.op.operation_id, `/fixes/${fix}`), { parameters, preview: true, language });
    this.#previews.set(fix, { preview, parameters });
  }

  render() {
    const title = titleOf(this.op);
    const applied = this.#applied;
    return html`<section class="fixes" data-role="fixes" aria-label=${t("fixes.of", { title })} aria-busy=${this.#busy ? "true" : "false"}>
      <h4 tabindex="-1">${t("fixes.of", { title })}</h4>
      ${this.access.trusted ? nothing : html`<p class="soft" data-role="not-trusted">${t("not_trusted")}</p>`}
      ${this.#fixes === null ? html`<p>${t("loading")}</p>` : nothing}
      ${this.#fixes?.length === 0 && !this.#error ? html`<p>${t("fixes.none")}</p>` : nothing}
      ${(this.#fixes ?? []).map((fix) => this.#fix(fix))}
      ${applied.length ? html`<h5>${t("fix.applied")}</h5><ul class="applied">${applied.map((one) => this.#done(one))}</ul>` : nothing}
      <div class="alert" role="alert" data-role="fix-error">${this.#error}</div>
      <button type="button" class="quiet" data-action="close-fixes" @click=${() => this.dispatchEvent(new Event("close"))}>${t("close")}</button>
    </section>`;
  }

  #fix(fix) {
    const asked = this.#previews.get(fix.id);
    const preview = (event) => {
      event.preventDefault();
      const parameters = valuesOf(event.target);
      this.#try(() => this.#ask(fix.id, parameters), fix);
    };
    // What is shown is what is done: another value has to be shown anew.
    const changed = () => {
      this.#previews.delete(fix.id);
      this.#wrong = null;
      this.requestUpdate();
    };
    const wrongOf = (name) => (this.#wrong?.fix === fix.id && this.#wrong.name === name ? this.#wrong.message : "");
    return html`<div class="fix" data-fix=${fix.id}>
      <h5 lang=${language}>${fix.title}</h5><p lang=${language}>${fix.explanation}</p>
      ${fix.can_apply && this.access.trusted ? html`<form @submit=${preview} @input=${changed}>
        ${fix.parameters.map((parameter) => field(`${this.op.operation_id}-${fix.id}`, parameter, wrongOf(parameter.name)))}
        ${asked ? nothing : html`<button data-action="preview">${t("fix.preview")}</button>`}
      </form>
      ${asked ? html`<div class="preview" role="group" aria-label=${t("fix.will")}><p>${t("fix.will")}</p>
        <ul lang=${language}>${asked.preview.says.map((text) => html`<li>${text}</li>`)}</ul>
        <p class="soft">${t(asked.preview.can_undo ? "fix.undoable" : "fix.final")}</p>
        <button type="button" class="main" data-action="apply" aria-disabled=${this.#busy ? "true" : "false"} @click=${() => this.#apply(fix)}>${t("fix.apply")}</button></div>` : nothing}` : nothing}
    </div>`;
  }

  #done(one) {
    const undo = () => this.#try(async () => {
      await this.changed(await send(of(this.op.operation_id, `/applied/${one.id}/undo`), { language }));
      await this.#load();
    });
    return html`<li data-state=${one.state}><strong>${t(`fix.state.${one.state}`)}</strong> <span class="soft">${timeWords(one.at)}</span>
      <ul lang=${language}>${one.says.map((text) => html`<li>${text}</li>`)}</ul>
      ${one.can_undo && this.access.trusted ? html`<p class="soft" lang=${language}>${one.how}</p><button type="button" data-action="undo" @click=${undo}>${t("fix.undo")}</button>` : nothing}</li>`;
  }

  #apply(fix) {
    const { preview, parameters } = this.#previews.get(fix.id);
    this.#try(async () => {
      const answer = await send(of(this.op.operation_id, `/fixes/${fix.id}`), { parameters, token: preview.token, retry: true, language });
      for (const form of this.querySelectorAll("form")) form.reset(); // with what is secret
      this.#previews.clear();
      await this.changed(answer);
      await this.#load();
    }, fix);
  }

  /** Do something, with a fix: what is wrong with a parameter of it is told beside that. */
  async #try(work, fix = null) {
    if (this.#busy) return;
    this.#busy = true;
    this.#error = "";
    this.#wrong = null;
    this.requestUpdate();
    try {
      await work();
    } catch (error) {
      // What was shown is not what is there any more.
      if (error.status === 409) this.#previews.clear();
      const { field: name, message } = error;
      if (fix?.parameters.some((parameter) => parameter.name === name)) this.#wrong = { fix: fix.id, name, message };
      else this.#error = message;
    }
    this.#busy = false;
    this.requestUpdate();
    await this.updateComplete;
    if (this.#wrong) this.querySelector("[aria-invalid]")?.focus(); // so that what is said of it is read out
  }
}

/** A parameter as a field of a form; `wrong` is a sentence about what was given, if it was refused. */
function field(form, { name, kind, label, required, default: value, choices }, wrong) {
  const id = `${form}-${name}`;
  const [invalid, about] = wrong ? ["true", `${id}-wrong`] : [nothing, nothing];
  const said = wrong ? html`<span class="bad" id=${about} lang=${language}>${wrong}</span>` : nothing;
  const caption = html`<label for=${id}>${label}${required ? html` <span class="soft">${t("fix.required")}</span>` : nothing}</label>`;
  if (choices?.length) {
    return html`<p class="field">${caption}<select id=${id} name=${name} ?required=${required} aria-invalid=${invalid} aria-describedby=${about}>
      ${value == null ? html`<option value="">${t("fix.choose")}</option>` : nothing}
      ${choices.map((choice) => html`<option value=${choice} ?selected=${choice === value}>${choice}</option>`)}</select>${said}</p>`;
  }
  const isBool = kind === "bool";
  return html`<p class="field">${isBool ? nothing : caption}<input id=${id} name=${name} type=${TYPES[kind] ?? "text"} autocomplete=${kind === "secret" ? "new-password" : "off"} spellcheck="false"
    aria-invalid=${invalid} aria-describedby=${about}
    ?required=${required && !isBool} ?checked=${isBool && value === true} value=${isBool ? "true" : (value ?? "")}>${isBool ? caption : nothing}${said}</p>`;
}

customElements.define("recovery-fixes", Fixes);
