// The settings, where they come from, and changing them.

import { html, nothing } from "../part.js";
import { t } from "../i18n.js";
import { send } from "../server.js";
import { Asking } from "./asking.js";

const words = (value) => (value === null || value === undefined || value === "" ? t("settings.none") : typeof value === "boolean" ? t(value ? "yes" : "no") : typeof value === "object" ? JSON.stringify(value) : String(value));

export class Settings extends Asking {
  static properties = ["access"];

  #said = new Map(); // name → [good, sentence]

  get asked() {
    return ["config", {}];
  }

  shown() {
    const { settings } = this.found;
    const { trusted } = this.access;
    return html`<h2>${t("view.settings")}</h2><p class="soft">${t(trusted ? "settings.what" : "not_trusted")}</p>
      <ul class="settings">${settings.map((setting) => this.#setting(setting, trusted))}</ul>`;
  }

  #setting(setting, trusted) {
    const { name, value, default: usual, source, changeable, meaning } = setting;
    const [good, sentence] = this.#said.get(name) ?? [];
    const facts = [source && t("settings.from", { source }), t("settings.default", { value: words(usual) }), changeable ? "" : t("settings.fixed")];
    return html`<li data-setting=${name}><form @submit=${(event) => this.#save(event, setting)}>
      <label for="s-${name}"><code>${name}</code></label>
      ${changeable && trusted ? html`${field(setting)}<button aria-label=${t("settings.save.name", { name })}>${t("settings.save")}</button>` : html`<output id="s-${name}">${words(value)}</output>`}
      <p class="soft"><span lang="en">${meaning}</span> · ${facts.filter(Boolean).join(" · ")}</p>
      <p role="status" class=${good === false ? "bad" : ""}>${sentence ?? nothing}</p></form></li>`;
  }

  async #save(event, setting) {
    event.preventDefault();
    const { name } = setting;
    try {
      const answer = await send("config", { settings: { [name]: valueOf(event.target.elements.value.value, setting) } }, { method: "PATCH" });
      this.#said.set(name, [true, answer.message]);
      this.found = { ...this.found, settings: answer.settings };
    } catch (error) {
      this.#said.set(name, [false, error.message]);
    }
    this.requestUpdate();
  }
}

function field({ name, value, default: usual }) {
  const id = `s-${name}`;
  if (typeof (value ?? usual) === "boolean") {
    return html`<select id=${id} name="value">${[true, false].map((one) => html`<option value=${String(one)} ?selected=${one === value}>${words(one)}</option>`)}</select>`;
  }
  const text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  return html`<input id=${id} name="value" autocomplete="off" spellcheck="false" .value=${text}>`;
}

/** What was typed, as the kind of value that the setting has. */
function valueOf(text, { value, default: usual }) {
  const kind = value ?? usual;
  if (text === "") return null;
  if (typeof kind === "boolean") return text === "true";
  if (typeof kind === "number" && Number.isFinite(Number(text))) return Number(text);
  if (typeof kind === "object" && kind !== null) {
    try {
      return JSON.parse(text);
    } catch {
      return text; // the server says what it expects
    }
  }
  return text;
}

customElements.define("recovery-settings", Settings);
