// The page: header, views and what is announced, put together from the store, the list and the live connection.

import { html, nothing, Part, redrawAll } from "../part.js";
import { language, LANGUAGES, speak, t } from "../i18n.js";
import { getOperation, getOperations, getPage, getStatus, serverNow } from "../server.js";
import { breakerWords, modeWords, problemWords, sectionOf, stateWords, titleOf } from "../text.js";
import { Breakers } from "./breakers.js";
import { goLive } from "./live.js";
import { Store } from "./store.js";
import "./list.js";
import "./toasts.js";

const VIEWS = ["operations", "charts", "system", "settings", "log"];
const COUNTS = ["active_operations", "recovered_operations", "failed_operations", "retry_attempts", "total_operations"];
const TICK_MS = 250;
const SLOW_TICK_MS = 15_000; // "3 min ago" and the move of finished cards into the fold need no more
const MOST = 2000; // operations that are kept while nobody looks at older ones
const SOON_MS = 1000;
const DRAW_MS = 30; // many events in one moment make one drawing; a timer, because hidden tabs get no animation frames

const time = (iso) => Date.parse(iso) || 0;

/** What is done later, once, however often it was asked for. */
function soon(work, pause) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, pause);
  };
}

export class App extends Part {
  #store = new Store();
  #breakers = new Breakers();
  #status = null;
  #access = { known: false, trusted: false };
  #connection = "connecting";
  #error = null;
  #loaded = false;
  #view = "operations";
  #named = ""; // the operation that the address names, until it is shown
  #announced = new Map(); // operation_id → state words last known to the listener
  #news = "";
  #announcing = false;
  #asked = new Set(); // operations to be fetched with the next round
  #draw = soon(() => this.requestUpdate(), DRAW_MS);
  #statusSoon = soon(() => this.#refreshStatus().catch(() => {}), SOON_MS);
  // What events leave out, such as the parts of an import.
  #fetchSoon = soon(() => {
    for (const id of this.#asked) this.#fetchOne(id);
    this.#asked.clear();
  }, SOON_MS);

  connectedCallback() {
    this.replaceChildren(); // what was there while the scripts were fetched
    super.connectedCallback();
    this.#address();
    addEventListener("hashchange", () => this.#address());
    setInterval(() => this.#tick(false), TICK_MS);
    setInterval(() => this.#tick(true), SLOW_TICK_MS);
    goLive({
      refresh: (how) => this.#refresh(how),
      lastSeq: () => this.#store.lastSeq,
      connection: (state) => {
        this.#connection = state;
        this.requestUpdate();
      },
      event: (name, data) => this.#event(name, data),
    });
  }

  get #list() {
    return this.querySelector("recovery-list");
  }

  get #toasts() {
    return this.querySelector("recovery-toasts");
  }

  // ---- drawing -----------------------------------------------------------------------------------------

  render() {
    return html`<a class="skip" href="#main" @click=${this.#skip}>${t("skip")}</a>
      <header class="top">
        <div class="bar">
          <h1>${t("title")}</h1>
          <p class="connection" data-role="connection" data-state=${this.#connection} role="status"><span class="dot" aria-hidden="true"></span><span data-role="connection-text">${t(`connection.${this.#connection}`)}</span></p>
          <div class="tools">
            ${this.#toasts?.button}
            <label class="visually-hidden" for="language">${t("language.label")}</label>
            <select id="language" data-role="language" @change=${this.#speak}>
              ${Object.entries(LANGUAGES).map(([tag, name]) => html`<option value=${tag} lang=${tag} ?selected=${tag === language}>${name}</option>`)}</select>
            <a class="back" data-role="launcher-link" href="../"><span aria-hidden="true">←</span> ${t("back")}</a>
          </div>
        </div>
        ${this.#status ? html`<dl class="counts" aria-label=${t("counts")} data-role="counts">
          ${COUNTS.map((name) => html`<div><dt>${t(`count.${name}`)}</dt><dd data-count=${name}>${this.#status[name] ?? 0}</dd></div>`)}</dl>` : nothing}
        <nav aria-label=${t("views")}><ul>${VIEWS.map((view) => html`<li><a href=${view === "operations" ? "#/" : `#/${view}`} data-view=${view}
          aria-current=${view === this.#view ? "page" : nothing}>${t(`view.${view}`)}</a></li>`)}</ul></nav>
      </header>
      <main id="main" tabindex="-1">
        <div class="banner alert" data-role="page-error" role="alert" ?hidden=${!this.#error}>${this.#errorWords()}</div>
        ${this.#banners()}
        <p class="loading" data-role="loading" ?hidden=${this.#loaded || this.#error}>${t("loading")}</p>
        <recovery-list ?hidden=${this.#view !== "operations"} .store=${this.#store} .access=${this.#access} .loaded=${this.#loaded}
          .changed=${(id, answer) => this.#changed(id, answer)} .said=${(text, bad) => this.#toasts.say(text, { kind: bad ? "bad" : "good" })}
          @drawn=${() => this.#showNamed()}></recovery-list>
        ${this.#other()}
      </main>
      <p class="visually-hidden" data-role="announcer" aria-live="polite">${this.#news}</p>
      <recovery-toasts @asked=${() => this.requestUpdate()}></recovery-toasts>`;
  }

  #other() {
    switch (this.#view) {
      case "charts": return html`<recovery-charts></recovery-charts>`;
      case "system": return html`<recovery-system .breakers=${this.#breakers.open} .access=${this.#access}></recovery-system>`;
      case "settings": return html`<recovery-settings .access=${this.#access}></recovery-settings>`;
      case "log": return html`<recovery-log .store=${this.#store}></recovery-log>`;
      default: return nothing;
    }
  }

  #errorWords() {
    const error = this.#error;
    if (!error) return nothing;
    if (error.status === 401) return html`${t("login.needed")} <a data-role="login" href="login">${t("login")}</a>`;
    return error.status ? error.message : `${error.message} ${t("no_answer.wait")}`;
  }

  #banners() {
    const status = this.#status;
    if (!status) return nothing;
    const mode = modeWords(status);
    const list = (name, kind, texts) => html`<section class="banner ${kind}" data-role=${name} aria-label=${t(name)} ?hidden=${texts.length === 0}>
      <ul>${texts.map((text) => html`<li>${text}</li>`)}</ul></section>`;
    return html`${mode ? html`<div class="banner note" data-role="mode">${mode}</div>` : nothing}
      ${list("problems", "warning", (status.problems ?? []).map(problemWords))}
      ${list("breakers", "note", this.#breakers.open.map((breaker) => breakerWords(breaker, serverNow())))}`;
  }

  willUpdate() {
    this.#announce();
    const ops = [...this.#store.entries.values()];
    const n = ops.filter(({ op }) => sectionOf(op.state) === "attention").length;
    const title = n ? t("title.needing", { n }) : t("title");
    if (document.title !== title) document.title = title;
    document.documentElement.lang = language === "zh" ? "zh-CN" : language;
  }

  updated() {
    this.#list.requestUpdate(); // what it shows is in the store, which is the same object all the time
  }

  /** Tell state changes to screen readers: never countdowns, and many at once as a number. */
  #announce() {
    const news = [];
    for (const [id, { op }] of this.#store.entries) {
      const { state } = op;
      if (this.#announced.get(id) === state) continue;
      // An old finished operation that turns up (a further page of the list) is no news.
      if (this.#announced.has(id) || sectionOf(state) !== "finished") news.push(op);
      this.#announced.set(id, state);
    }
    // What was there when the page was opened is read, not announced.
    if (this.#announcing && news.length) {
      this.#news = news.length > 3 ? t("changed", { n: news.length }) : news.map((op) => `${titleOf(op)}${t("colon")}${stateWords(op)}${t("attempt.end")}`).join(" ");
      for (const op of news.slice(0, 10)) this.#toasts?.tell(op);
    }
    this.#announcing = this.#loaded;
  }

  #tick(all) {
    this.#list?.tick(serverNow(), all);
    if (all || this.#breakers.open.length) this.requestUpdate();
    if (all && this.#store.entries.size > MOST && this.#list?.isAtTop) this.#startAnew();
  }

  /** A page that stays open for days forgets what it would fetch again when somebody asks for it. */
  #startAnew() {
    this.#announced.clear();
    this.#announcing = false;
    this.#refresh({ force: true }).catch(() => {});
  }

  #skip(event) {
    event.preventDefault();
    this.querySelector("main").focus();
  }

  async #speak({ target }) {
    await speak(target.value, true);
    redrawAll();
  }

  // ---- where the address leads ------------------------------------------------------------------------

  async #address() {
    const name = decodeURIComponent(location.hash.slice(1));
    if (name.startsWith("/") || !name) {
      const view = VIEWS.find((one) => one === name.slice(1)) ?? "operations";
      if (view !== "operations") await import("./views.js");
      this.#view = view;
    } else if (name !== "main") {
      this.#view = "operations";
      this.#named = name;
      this.#list?.clear();
      this.#showNamed();
    }
    this.requestUpdate();
  }

  /** Once: bring the card into sight that the address names, as links of the launcher's own pages do. */
  async #showNamed() {
    const id = this.#named;
    if (!id || !this.#loaded || this.#view !== "operations") return;
    this.#named = "";
    if (await this.#list.show(id)) return;
    // Older than what was fetched: with what it belongs to, and what belongs to it.
    await this.#fetchOne(id);
    const op = this.#store.get(id);
    if (op?.parent_id) await this.#fetchOne(op.parent_id);
    const { operations, seq } = await getPage({ parent_id: id }).catch(() => ({ operations: [] }));
    for (const part of operations) if (part.parent_id === id && !this.#store.get(part.operation_id)) this.#store.take(part, seq);
    await this.#list.show(id);
  }

  // ---- news ----------------------------------------------------------------------------------------------

  #takeStatus(status) {
    this.#status = status;
    // Older servers do not tell it, and have none of what it is about.
    const access = { known: Boolean(status.access), trusted: Boolean(status.access?.trusted) };
    if (access.known !== this.#access.known || access.trusted !== this.#access.trusted) this.#access = access;
    this.#breakers.load(status.breakers ?? [], status.seq ?? 0, serverNow());
    this.requestUpdate();
  }

  async #refreshStatus() {
    this.#takeStatus(await getStatus());
  }

  async #refresh({ force, polling = false }) {
    try {
      const [list, status] = await Promise.all([getOperations(), getStatus()]);
      // While polling no events come, so a number below ours can only mean that the server counts anew.
      const anew = force || (polling && list.seq < this.#store.lastSeq);
      if (anew) this.#breakers.clear();
      this.#takeStatus(status);
      this.#store.load({ ...list, complete: !list.next, force: anew });
      if (!this.#loaded || anew || !list.next) this.#list.older = list.next;
      this.#loaded = true;
      this.#error = null;
    } catch (error) {
      this.#error = error;
      throw error;
    } finally {
      this.requestUpdate();
    }
  }

  async #fetchOne(id) {
    try {
      const { operation, seq } = await getOperation(id);
      const { attempts, steps, events, ...op } = operation; // those are shown by who asks for them
      this.#store.take(op, seq ?? operation.seq ?? null);
    } catch (error) {
      if (error.status === 404) this.#store.entries.delete(id);
    }
    this.#draw();
  }

  /** A button of operation `id` was answered; without an id one of many. */
  async #changed(id, answer) {
    if (answer.operation) this.#store.take(answer.operation);
    else if (id) await this.#fetchOne(id);
    else await this.#refresh({ force: false }).catch(() => {});
    if (answer.retry_id && answer.retry_id !== id) await this.#fetchOne(answer.retry_id);
    if (answer.applied) this.#toasts.say(answer.message ?? t(`fix.state.${answer.applied.state}`), { kind: "good" });
    this.#statusSoon();
    this.requestUpdate();
    await this.updateComplete;
    await this.#list.updateComplete; // then the cards have it
  }

  #event(name, data) {
    if (name === "circuit_breaker_update") this.#breakers.take(data, data.seq, time(data.timestamp));
    this.querySelector("recovery-log")?.take?.(name, data);
    if (name === "settings_update") this.querySelector("recovery-settings")?.look?.();
    const before = this.#store.get(data.operation_id)?.state;
    const incomplete = this.#store.apply(name, data);
    if (incomplete) this.#fetchOne(incomplete);
    else if (name === "recovery_completed" || this.#store.get(data.operation_id)?.kind === "create_project") {
      this.#asked.add(data.operation_id);
      this.#fetchSoon();
    }
    if (this.#store.get(data.operation_id)?.state !== before) this.#statusSoon();
    this.#draw();
  }
}
