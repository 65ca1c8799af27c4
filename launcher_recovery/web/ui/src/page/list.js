// The list of operations: what needs the person, what is under way, what is finished; or what was searched for.

import { html, nothing, Part } from "../part.js";
import { t } from "../i18n.js";
import { getPage, send, serverNow } from "../server.js";
import { kindWords, KINDS, sectionOf, STATES, stateWords } from "../text.js";
import { Card } from "./card.js";

const RECENT_MS = 600_000; // finished operations stay in sight this long
const RECENT_MOST = 5;
const STEP = 50; // cards of a list at a time
const TYPED_MS = 300;
const RANK = { failed: 0, exhausted: 0, in_progress: 1, recovering: 1, pending: 2, paused: 2 };
const NEEDING = ["failed", "exhausted"];
const BULK = { attention: [["retry", NEEDING]], active: [["pause", ["in_progress", "recovering", "pending"]], ["resume", ["paused"]]] };

const time = (iso) => Date.parse(iso) || 0;
const rank = ({ op }) => RANK[op.state] ?? 3;
const byBirth = (a, b) => a.born - b.born || (a.op.operation_id < b.op.operation_id ? -1 : 1);
const family = (node) => [node, ...node.children.flatMap(family)];
const ended = (node) => Math.max(...family(node).map(({ op }) => time(op.updated_at)));

export class List extends Part {
  static properties = ["store", "loaded", "access"];

  #cards = new Map(); // operation_id → Card
  #lists = {}; // name → the element that holds its cards
  #from = {}; // name → which of its operations is the first one shown
  #places = { attention: [], active: [], finished: [], recent: [], earlier: [], found: [] };
  #filter = {};
  #found = null; // while something is searched for: {next} of what the server found
  #typing = null;
  #open = false; // the fold of the earlier ones
  #problem = "";

  constructor() {
    super();
    this.older = null; // cursor of the next page of old operations
    this.changed = async () => {}; // told of every answer about an operation: (id, answer)
    this.said = () => {}; // told of what a button came to
    for (const name of Object.keys(this.#places)) this.#lists[name] = Object.assign(document.createElement("div"), { className: "cards", role: "list" });
  }

  /** Bring the card of an operation into sight, opened; false: it is not known here. */
  async show(id) {
    if (!this.store.get(id)) return false;
    this.#sort();
    for (const [name, nodes] of Object.entries(this.#places)) {
      const i = nodes.findIndex((node) => family(node).some(({ op }) => op.operation_id === id));
      if (i >= 0) this.#from[name] = i - (i % STEP);
    }
    this.requestUpdate();
    await this.updateComplete;
    const card = this.#cards.get(id);
    for (let fold = card.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    card.unfold();
    await card.updateComplete;
    card.scrollIntoView({ block: "start" });
    card.heading.focus({ preventScroll: true });
    return true;
  }

  tick(now, all) {
    for (const card of this.#cards.values()) if (card.hasUpdated && (all || ["recovering", "pending"].includes(card.op.state))) card.tick(now);
  }

  /** Whether the newest ones are shown of everything. */
  get isAtTop() {
    return !this.#found && Object.values(this.#from).every((from) => from === 0);
  }

  /** Show everything again. */
  clear() {
    this.#filter = {};
    this.#found = null;
    this.querySelector("form")?.reset();
    this.requestUpdate();
  }

  willUpdate() {
    this.#sort();
  }

  #sort() {
    const places = { attention: [], active: [], finished: [], recent: [], earlier: [], found: [] };
    if (this.#found) {
      places.found = this.store.matching(this.#filter).map((op) => ({ op, children: [], born: time(op.created_at) })).sort((a, b) => byBirth(b, a));
    } else {
      for (const node of this.store.tree()) {
        const all = family(node);
        const found = new Set(all.map(({ op }) => sectionOf(op.state)));
        node.rank = Math.min(...all.map(rank));
        for (const one of all) one.born = time(one.op.created_at);
        places[["attention", "active", "finished"].find((name) => found.has(name))].push(node);
      }
      for (const name of ["attention", "active"]) places[name].sort((a, b) => a.rank - b.rank || byBirth(b, a));
      const now = serverNow();
      for (const node of places.finished) node.ended = ended(node);
      places.finished.sort((a, b) => b.ended - a.ended || byBirth(b, a));
      places.recent = places.finished.filter((node) => now - node.ended < RECENT_MS).slice(0, RECENT_MOST);
      places.earlier = places.finished.slice(places.recent.length);
    }
    this.#places = places;
    for (const [name, from] of Object.entries(this.#from)) this.#from[name] = Math.max(0, Math.min(from, STEP * (Math.ceil(places[name].length / STEP) - 1)));
  }

  render() {
    const { attention, active, finished, earlier, found } = this.#places;
    const quiet = attention.length + active.length === 0;
    const n = earlier.length;
    return html`${this.#form()}
      ${this.#problem ? html`<div class="banner alert" role="alert" data-role="list-error">${this.#problem}</div>` : nothing}
      ${this.#found
        ? html`${this.#section("found", found.length > 0)}
          ${found.length ? nothing : html`<p class="empty" data-role="empty">${t("empty.found")}</p>`}`
        : html`${this.#section("attention", attention.length > 0)}${this.#section("active", active.length > 0)}
          <p class="empty" data-role="empty" ?hidden=${!this.loaded || !quiet}>${t(finished.length ? "empty.quiet" : "empty")}</p>
          <section data-section="finished" aria-labelledby="h-finished" ?hidden=${!finished.length && !this.older}>
            <h2 id="h-finished">${t("section.finished")}</h2>
            ${this.#lists.recent}
            <details class="earlier" data-role="earlier" ?hidden=${!n && !this.older} ?open=${this.#open} @toggle=${this.#toggle}>
              <summary>${t(this.older ? "earlier.more" : "earlier", { n })}</summary>
              ${this.#lists.earlier}${this.#pager("earlier", this.older)}
            </details>
          </section>`}`;
  }

  #section(name, shown) {
    return html`<section data-section=${name} aria-labelledby="h-${name}" ?hidden=${!shown}>
      <div class="headline"><h2 id="h-${name}">${t(`section.${name}`)}</h2>${this.#bulk(name)}</div>
      ${this.#lists[name]}${this.#pager(name, this.#found?.next)}
    </section>`;
  }

  /** Buttons to the operations before and after those that are shown; `next`: the server has more. */
  #pager(name, next) {
    const n = this.#places[name].length;
    const from = this.#from[name] ?? 0;
    const to = Math.min(from + STEP, n);
    const button = (action, shown, by) => html`<button type="button" data-action=${action} ?hidden=${!shown} @click=${() => this.#turn(name, by, next)}>${t(action)}</button>`;
    return html`<p class="pager" ?hidden=${from === 0 && to === n && !next}>${button("newer", from > 0, -STEP)}
      <span data-role="range">${t(next ? "range.more" : "range", { from: Math.min(from + 1, n), to, n })}</span>${button("older", to < n || next, STEP)}</p>`;
  }

  async #turn(name, by, next) {
    const from = (this.#from[name] ?? 0) + by;
    if (next && from + STEP > this.#places[name].length) await this.#more();
    this.#from[name] = from;
    this.requestUpdate();
    await this.updateComplete;
    const list = this.#lists[name];
    if (list.getBoundingClientRect().top < 0) list.scrollIntoView({ block: "start" });
    // The pressed button may be gone: a keyboard goes on with the first that it brought.
    if (!document.activeElement.closest("button:not([hidden])")) list.querySelector("h3")?.focus({ preventScroll: true });
  }

  #bulk(name) {
    if (!this.access.known) return nothing;
    const held = new Set(this.#places[name].flatMap((node) => family(node).map(({ op }) => op.state)));
    const buttons = name === "found" ? BULK.attention : (BULK[name] ?? []);
    return buttons.filter(([, states]) => states.some((state) => held.has(state))).map(([action, states]) => html`<button type="button"
      data-action="${action}-all" @click=${({ currentTarget }) => this.#all(currentTarget, action, states)}>${t(`${action}_all`)}</button>`);
  }

  #form() {
    const { state = "", kind = "", project = "" } = this.#filter;
    const ops = [...this.store.entries.values()].map(({ op }) => op);
    const projects = [...new Set(ops.map((op) => op.project).filter(Boolean))].sort();
    const kinds = [...new Set([...KINDS, ...ops.map((op) => op.kind)])].filter(Boolean);
    const choice = (name, value, options) => html`<p class="field"><label for="f-${name}">${t(`filter.${name}`)}</label>
      <select id="f-${name}" name=${name}><option value="">${t("filter.all")}</option>
      ${options.map(([id, words]) => html`<option value=${id} ?selected=${id === value}>${words}</option>`)}</select></p>`;
    return html`<form class="filter" role="search" aria-label=${t("filter")} @input=${this.#typed} @submit=${(event) => event.preventDefault()}>
      <p class="field wide"><label for="f-text">${t("filter.text")}</label><input id="f-text" name="text" type="search" autocomplete="off" placeholder=${t("filter.text.hint")}></p>
      ${choice("state", state, [[NEEDING.join(","), t("section.attention")], ...STATES.map((one) => [one, stateWords({ state: one })])])}
      ${choice("kind", kind, kinds.map((one) => [one, kindWords(one)]))}
      ${projects.length ? choice("project", project, projects.map((one) => [one, one])) : nothing}
      <button type="button" class="quiet" data-action="clear" ?hidden=${!this.#found} @click=${this.clear}>${t("filter.clear")}</button>
    </form>`;
  }

  #typed({ currentTarget: form }) {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => {
      const given = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
      this.#filter = Object.fromEntries(given);
      this.#from.found = 0;
      this.#found = given.length ? { next: null } : null;
      this.requestUpdate();
      if (this.#found) this.#more();
    }, TYPED_MS);
  }

  /** Fetch the next page of what is searched for, or of the old ones. */
  async #more() {
    const searched = this.#found;
    const before = searched ? searched.next : this.older;
    try {
      const page = await getPage({ ...this.#filter, before });
      for (const op of page.operations) if (!this.store.get(op.operation_id)) this.store.take(op, page.seq);
      if (searched) searched.next = page.next;
      else this.older = page.next;
      this.#problem = "";
    } catch (error) {
      this.#problem = error.message;
    }
    this.requestUpdate();
  }

  async #all(button, action, states) {
    const filter = { ...this.#filter, state: states };
    button.setAttribute("aria-disabled", "true");
    let [done, refused] = [0, []];
    try {
      for (let more = true; more; ) {
        const answer = await send(`operations/${action}`, { filter }, { patience: 60_000 });
        done += answer.changed.length;
        refused = answer.refused;
        more = answer.more && answer.changed.length > 0;
      }
      const sentences = [t("bulk.done", { n: done })];
      if (refused.length) sentences.push(t("bulk.refused", { n: refused.length, message: refused[0].message }));
      this.said(sentences.join(" "));
    } catch (error) {
      this.said(error.message, true);
    }
    button.removeAttribute("aria-disabled");
    await this.changed(null, {});
  }

  #toggle({ target }) {
    if (target.classList.contains("earlier")) this.#open = target.open;
  }

  updated() {
    const focused = document.activeElement;
    const used = new Set();
    for (const [name, list] of Object.entries(this.#lists)) {
      const from = this.#from[name] ?? 0;
      if (name !== "finished") this.#arrange(list, this.#places[name].slice(from, from + STEP), null, used);
    }
    for (const [id, card] of this.#cards) {
      if (used.has(id)) continue;
      card.remove();
      this.#cards.delete(id);
    }
    // Moving a node drops the focus.
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    this.dispatchEvent(new Event("drawn"));
  }

  /** Put the cards of `nodes` into `list` in this order, touching only those that stand elsewhere. */
  #arrange(list, nodes, inside, used) {
    let place = list.firstElementChild;
    for (const node of nodes) {
      const card = this.#cardOf(node, inside, used);
      if (card === place) place = place.nextElementSibling;
      else list.insertBefore(card, place);
    }
  }

  #cardOf({ op, children }, inside, used) {
    const id = op.operation_id;
    used.add(id);
    let card = this.#cards.get(id);
    if (!card) {
      card = Object.assign(new Card(), { role: "listitem", changed: (answer) => this.changed(id, answer) });
      this.#cards.set(id, card);
    }
    children.sort((a, b) => rank(a) - rank(b) || byBirth(a, b));
    const parts = children.map((child) => child.op);
    const same = parts.length === card.parts.length && parts.every((part, i) => part === card.parts[i]);
    Object.assign(card, { op, inside, access: this.access }, same ? {} : { parts });
    this.#arrange(card.list, children, op, used);
    return card;
  }
}

customElements.define("recovery-list", List);
