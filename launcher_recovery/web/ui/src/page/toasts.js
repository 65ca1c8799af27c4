// News in a corner of the page, and, where the person wants them, as notifications of the browser.

import { html, nothing, Part } from "../part.js";
import { t } from "../i18n.js";
import { sectionOf, stateWords, titleOf } from "../text.js";

const SHOWN_MS = 8000;
const MOST = 4;
const KEPT = "launcher-recovery.notify";

const wanted = () => {
  try {
    return localStorage.getItem(KEPT) === "yes";
  } catch {
    return false;
  }
};

export class Toasts extends Part {
  static properties = ["items"];

  constructor() {
    super();
    this.items = []; // [{key, text, kind, id}]
  }

  /** Tell a sentence; what is bad stays until it is dismissed. */
  say(text, { kind = "note", key = text, id = null } = {}) {
    const item = { key, text, kind, id };
    this.items = [item, ...this.items.filter((one) => one.key !== key)].slice(0, MOST);
    if (kind !== "bad") setTimeout(() => (this.items = this.items.filter((one) => one !== item)), SHOWN_MS);
  }

  /** Tell how an operation stands, if that is news to a person: it ended, or needs one. */
  tell(op) {
    const kind = { attention: "bad", finished: "good" }[sectionOf(op.state)];
    // Of what belongs to something larger only failures are told.
    if (!kind || op.state === "cancelled" || (op.parent_id && kind === "good")) return;
    const text = `${titleOf(op)}${t("colon")}${stateWords(op)}`;
    this.say(text, { kind, key: op.operation_id, id: op.operation_id });
    if (document.hidden && wanted() && globalThis.Notification?.permission === "granted") {
      const note = new Notification(t("title"), { body: text, tag: op.operation_id });
      note.onclick = () => {
        window.focus();
        location.hash = op.operation_id;
      };
    }
  }

  async #ask() {
    if ((await Notification.requestPermission()) === "granted") localStorage.setItem(KEPT, wanted() ? "no" : "yes");
    this.requestUpdate();
  }

  /** The button that turns notifications on and off; nothing where the browser has none. */
  get button() {
    if (!globalThis.Notification || !isSecureContext) return nothing;
    const on = wanted() && Notification.permission === "granted";
    const denied = Notification.permission === "denied";
    const press = () => (Notification.permission === "granted" ? this.#switch(on) : this.#ask()).then(() => this.dispatchEvent(new Event("asked")));
    return html`<button type="button" class="quiet" data-action="notify" aria-pressed=${on ? "true" : "false"} ?disabled=${denied}
      @click=${press}>${t(denied ? "notify.off" : on ? "notify.on" : "notify")}</button>`;
  }

  async #switch(on) {
    localStorage.setItem(KEPT, on ? "no" : "yes");
  }

  render() {
    // Not a live region: what changes is announced once, by the page.
    return html`<section class="toasts" aria-label=${t("toasts")} data-role="toasts" ?hidden=${this.items.length === 0}>
      ${this.items.map((item) => html`<div class="toast ${item.kind}" data-toast=${item.key}>
        ${item.id ? html`<a href="#${item.id}">${item.text}</a>` : html`<span>${item.text}</span>`}
        <button type="button" class="quiet" aria-label=${`${t("toast.dismiss")}${t("colon")}${item.text}`}
          @click=${() => (this.items = this.items.filter((one) => one !== item))}>×</button></div>`)}
    </section>`;
  }
}

customElements.define("recovery-toasts", Toasts);
