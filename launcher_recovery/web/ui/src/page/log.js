// The event log: what was kept, and what comes meanwhile.

import { html, nothing } from "../part.js";
import { t } from "../i18n.js";
import { eventWords, timeWords, titleOf } from "../text.js";
import { Asking } from "./asking.js";

const MOST = 300;

export class Log extends Asking {
  static properties = ["store"];

  #events = new Map(); // seq → {event, data}

  get asked() {
    return ["events", { limit: 200 }];
  }

  /** One that just happened. */
  take(event, data) {
    this.#events.set(data.seq, { event, data });
    this.requestUpdate();
  }

  shown() {
    for (const { seq, event, data } of this.found.events) this.#events.set(seq, { event, data });
    const newest = [...this.#events].sort(([a], [b]) => b - a).slice(0, MOST);
    this.#events = new Map(newest);
    // The end of an operation has its id alone; what was told of it before, or the list, has its title.
    const titles = new Map(newest.map(([, { data }]) => [data.operation_id, data.title]).filter(([, title]) => title));
    const titled = ({ operation_id: id }) => titles.get(id) || (this.store.get(id) ? titleOf(this.store.get(id)) : id);
    return html`<h2>${t("view.log")}</h2><p class="soft">${t("log.what")}</p>
      ${newest.length ? nothing : html`<p class="empty">${t("log.none")}</p>`}
      <ol class="log" reversed>${newest.map(([seq, { event, data }]) => html`<li value=${seq} data-event=${event}><span class="soft">${timeWords(data.timestamp)}</span>
        ${data.operation_id ? html`<a href="#${data.operation_id}">${eventWords(event, data, titled(data))}</a>` : html`<span>${eventWords(event, data)}</span>`}</li>`)}</ol>`;
  }
}

customElements.define("recovery-log", Log);
