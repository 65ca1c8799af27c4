// One operation on the page: its DOM nodes are made once and then only changed, so that buttons keep focus.

import * as server from "./server.js";
import {
  agoWords, attemptSentence, attemptWords, countdownWords, explanationWords, kindWords, needsAdvice, outlineOf, packagesOf, plural,
  progressWords, sectionOf, spaced, stateWords, timeWords, titleOf, warningsOf,
} from "./words.js";

const template = document.getElementById("card");

/** Change text only when it differs: anything else would disturb selections and screen readers. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Show or hide, touching the node only when that changes something. */
export function setShown(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/** Show text, or hide the node when there is none. */
export function setOptional(node, text) {
  setText(node, text);
  setShown(node, Boolean(text));
}

/** Show a list of what `make` makes of each item, or hide it when there is none; made anew only when it differs. */
function fillList(list, items, make) {
  const text = JSON.stringify(items);
  if (list.dataset.items !== text) {
    list.dataset.items = text;
    list.replaceChildren(...items.map((item) => {
      const node = document.createElement("li");
      node.append(...make(item));
      return node;
    }));
  }
  setShown(list, items.length > 0);
}

const strong = (text) => Object.assign(document.createElement("strong"), { textContent: text });

export class Card {
  #advised = null; // what the advice was asked for
  #advice = []; // [{fix, title, text}]
  #language = ""; // of the advice
  #failedInside = false; // some part of it failed and says itself what to do
  #shown = null; // the state the details were loaded for
  #busy = false;
  #drawn = null; // the record the nodes show

  /** `changed(answer)` is told of every answer about this operation: {operation, seq?} or {retry_id}. */
  constructor(op, changed) {
    this.op = op;
    this.changed = changed;
    this.root = template.content.firstElementChild.cloneNode(true);
    this.article = this.root.querySelector("article");
    this.parts = this.root.querySelector(".parts");
    this.childList = this.parts.querySelector("ul");
    this.article.dataset.operationId = op.operation_id;
    const heading = this.$("h3");
    heading.id = `title-${op.operation_id}`;
    this.article.setAttribute("aria-labelledby", heading.id);
    this.article.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-action]");
      if (button) this.#press(button);
    });
    this.$(".confirm").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#closeConfirm();
    });
    this.details = this.$(".more");
    this.details.addEventListener("toggle", () => this.#loadDetails());
  }

  $(selector) {
    return this.article.querySelector(selector);
  }

  role(name) {
    return this.$(`[data-role="${name}"]`);
  }

  button(action) {
    return this.$(`[data-action="${action}"]`);
  }

  /** Show `op`; `parent` is the card it stands under, if any. */
  update(op, parent) {
    if (op === this.#drawn && parent === this.parent) return;
    const before = this.op.state;
    this.op = this.#drawn = op;
    this.parent = parent;
    const title = titleOf(op);
    this.article.dataset.state = op.state;
    this.article.dataset.group = sectionOf(op.state);
    this.$("use").setAttribute("href", `#i-${op.state}`);
    setText(this.$("h3"), title);
    this.role("warnings").setAttribute("aria-label", `Good to know about ${title}`);
    setText(this.role("state"), stateWords(op));
    setOptional(this.role("attempt"), attemptWords(op));
    if (op.state === "success" && op.attempt === 1) setShown(this.role("attempt"), false); // nothing to tell
    setOptional(this.role("kind"), kindWords(op.kind) === title ? "" : kindWords(op.kind));
    // A project import is called after its project already.
    const named = op.kind === "create_project" || op.project === parent?.op.project;
    setOptional(this.role("project"), op.project && !named ? `Project ${op.project}` : "");
    setOptional(this.role("explanation"), explanationWords(op));
    this.#updateAdvice();
    this.#updateProgress(op, title);
    this.#updateActions(op, title);
    if (before !== op.state) setText(this.role("error"), "");
    this.tick(server.serverNow());
    if (this.details.open) this.#loadDetails();
  }

  /** Texts that change as time passes. */
  tick(now) {
    setOptional(this.role("countdown"), countdownWords(this.op, now));
    setOptional(this.role("when"), sectionOf(this.op.state) === "active" ? "" : agoWords(this.op.updated_at, now));
  }

  /** Show what the children mean for this one and how many of them are done, and fold them away once all is over. */
  updateParts(children) {
    const found = (...states) => children.find((child) => states.includes(child.op.state));
    this.#failedInside = Boolean(found("failed", "exhausted"));
    this.#showAdvice();
    const held = this.op.state === "in_progress" && !found("in_progress") && found("recovering", "paused");
    if (held) setOptional(this.role("message"), `Waits for ${titleOf(held.op)}.`);
    else if (this.held) setOptional(this.role("message"), progressWords(this.op)?.message ?? "");
    this.held = Boolean(held);
    const outline = outlineOf(this.op, children.map((child) => child.op));
    this.#updateOutline(outline);
    setShown(this.parts, children.length > 0);
    if (children.length === 0) return;
    const done = outline?.done ?? children.filter((child) => child.op.state === "success").length;
    setText(this.parts.querySelector("summary"), `${done} of ${plural(outline?.total ?? children.length, "part")} done`);
    const over = [this.op, ...children.map((child) => child.op)].every((op) => sectionOf(op.state) === "finished");
    if (over !== this.over) this.parts.open = !over;
    this.over = over;
  }

  /** Show what an import still has to do, or what is missing and what is there. */
  #updateOutline(outline) {
    const { missing = [], coming = [], finished = [], leftOut = [], total = 0 } = outline ?? {};
    setShown(this.role("missing"), missing.length > 0);
    setText(this.role("missing-title"), `${missing.length} of ${plural(total, "part")} ${missing.length === 1 ? "is" : "are"} missing:`);
    fillList(this.$('[data-role="missing"] ul'), missing, ({ name, reason }) => [strong(name), reason ? `: ${reason}` : ""]);
    // The list says it part by part.
    if (missing.length > 0) setShown(this.role("explanation"), false);
    else setOptional(this.role("explanation"), explanationWords(this.op));
    const attention = missing.length > 0;
    setOptional(this.role("finished"), attention && finished.length ? `Done, and kept: ${finished.join(", ")}.` : "");
    setOptional(this.role("left-out"), leftOut.length ? `Left out: ${leftOut.join(", ")}.` : "");
    setOptional(this.role("coming"), coming.length ? `Still to come: ${coming.join(", ")}.` : "");
  }

  /** Ask what a person can do, once for each time that it comes to need one, or warns of something. */
  #updateAdvice() {
    const { op } = this;
    const warnings = warningsOf(op);
    const wanted = needsAdvice(op) || warnings.some(({ fix }) => fix);
    const about = wanted ? JSON.stringify([op.state, op.attempt, op.fix, warnings.map(({ fix }) => fix)]) : null;
    if (about !== this.#advised) {
      this.#advised = about;
      this.#advice = [];
      if (wanted) this.#askAdvice(about);
    }
    this.#showAdvice();
  }

  async #askAdvice(about) {
    try {
      const { advice, language } = await server.getAdvice(this.op.operation_id);
      if (about !== this.#advised) return;
      this.#advice = advice;
      this.#language = language;
      this.#showAdvice();
      this.#shown = null; // the details tell of it as well
      this.#loadDetails();
    } catch {
      // Asked again with the next news of it.
      if (about === this.#advised) this.#advised = null;
    }
  }

  /** What the card does not say already. */
  #otherAdvice() {
    const said = new Set([this.op.fix, ...warningsOf(this.op).map(({ fix }) => fix)]);
    return this.#advice.filter(({ fix }) => !said.has(fix)).map(({ title, text }) => `${title}: ${text}`);
  }

  #showAdvice() {
    const { op } = this;
    const of = (fix) => this.#advice.find((one) => one.fix === fix);
    const fix = this.role("fix");
    if (fix.lang !== this.#language) fix.lang = this.#language;
    // The part that failed says it, and the import around it need not say it again.
    setOptional(fix, needsAdvice(op) && !this.#failedInside ? (of(op.fix)?.text ?? "") : "");
    const warnings = warningsOf(op).map((warning) => ({ ...warning, advice: of(warning.fix)?.text ?? "" }));
    fillList(this.role("warnings"), warnings, ({ message, advice }) => {
      const hint = Object.assign(document.createElement("span"), { textContent: advice, lang: this.#language });
      return advice ? [message, " ", hint] : [message];
    });
  }

  #updateProgress(op, title) {
    const words = progressWords(op);
    const block = this.role("progress-block");
    setOptional(this.role("message"), op.state === "in_progress" && words ? words.message : "");
    setShown(block, Boolean(words));
    if (!words) return;
    const track = this.$(".track");
    const known = words.percent !== null;
    track.classList.toggle("unknown", !known);
    // An unknown total while nothing moves says nothing: then there is only the text.
    setShown(track, known || op.state === "in_progress");
    track.setAttribute("aria-label", `Progress of ${title}`);
    if (known) track.setAttribute("aria-valuenow", String(Math.floor(words.percent)));
    else track.removeAttribute("aria-valuenow");
    track.setAttribute("aria-valuetext", words.amount || "Running");
    track.style.setProperty("--done", `${known ? words.percent : 0}%`);
    track.style.setProperty("--kept", `${words.keptPercent}%`);
    setText(this.$('[data-part="amount"]'), words.amount);
    setOptional(this.$('[data-part="kept"]'), words.kept);
  }

  #updateActions(op, title) {
    const legal = new Set(op.actions ?? []);
    const focused = this.article.contains(document.activeElement) ? document.activeElement : null;
    for (const action of ["pause", "resume", "retry", "cancel"]) {
      const button = this.button(action);
      if (action === "retry") setText(button, ["recovering", "pending"].includes(op.state) ? "Try now" : "Retry");
      button.setAttribute("aria-label", `${button.textContent} ${title}`);
      setShown(button, legal.has(action));
    }
    setText(this.$(".confirm p"), `Cancel ${title}? It will not be tried again by itself.`);
    if (!legal.has("cancel")) this.role("confirm").hidden = true;
    this.role("actions").hidden = legal.size === 0 || !this.role("confirm").hidden;
    if (focused && !focused.checkVisibility()) this.#focusSomething();
  }

  // The pressed button may be gone: go on with its neighbour, else with the heading.
  #focusSomething() {
    const next = [...this.article.querySelectorAll("button")].find((button) => button.checkVisibility() && !button.disabled);
    (next ?? this.$("h3")).focus({ preventScroll: true });
  }

  #press(button) {
    const action = button.dataset.action;
    if (action === "cancel") {
      this.role("confirm").hidden = false;
      this.role("actions").hidden = true;
      this.button("confirm-cancel").focus();
    } else if (action === "keep") this.#closeConfirm();
    else if (action === "confirm-cancel") this.#send("cancel");
    else this.#send(action);
  }

  #closeConfirm() {
    this.role("confirm").hidden = true;
    this.role("actions").hidden = false;
    this.button("cancel").focus();
  }

  async #send(action) {
    if (this.#busy) return;
    this.#setBusy(true);
    setText(this.role("error"), "");
    let problem = "";
    try {
      const answer = await server.post(this.op.operation_id, action);
      if (action === "cancel") this.role("confirm").hidden = true;
      this.#setBusy(false);
      await this.changed(answer);
    } catch (error) {
      problem = error.message;
      this.#setBusy(false);
      // Most refusals mean that the operation went on meanwhile: show how it stands now.
      if (error.status === 409 || error.status === 404) await this.changed({});
    }
    setText(this.role("error"), problem);
    // A disabled button loses the focus; give it back unless the person went elsewhere.
    if (document.activeElement === document.body) this.#focusSomething();
  }

  #setBusy(busy) {
    this.#busy = busy;
    this.article.setAttribute("aria-busy", String(busy));
    for (const button of this.article.querySelectorAll("button")) button.disabled = busy;
  }

  #updateFacts() {
    const { op } = this;
    const facts = [
      ["Error", op.error],
      ["Category", op.category && spaced(op.category)],
      ["Suggested fix", op.fix && op.fix !== "none" && (this.#advice.find((one) => one.fix === op.fix)?.title ?? spaced(op.fix))],
      ["Project", op.project],
      ["Started", op.created_at && timeWords(op.created_at)],
      ["Last change", op.updated_at && timeWords(op.updated_at)],
      ["Took", op.duration > 0 ? `${op.duration.toFixed(1)} s` : null],
      ["Function", op.function_name],
      ["Key", op.key],
      ["Operation", op.operation_id],
      ["Part of", op.parent_id],
    ].filter(([, value]) => value);
    const list = this.$(".more dl");
    const text = JSON.stringify(facts);
    if (list.dataset.facts === text) return;
    list.dataset.facts = text;
    list.replaceChildren(...facts.map(([name, value]) => {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: name }));
      row.append(Object.assign(document.createElement("dd"), { textContent: value }));
      return row;
    }));
  }

  async #loadDetails() {
    if (!this.details.open) {
      this.#shown = null;
      return;
    }
    this.#updateFacts();
    const wanted = `${this.op.state} ${this.op.attempt}`;
    if (this.#shown === wanted) return;
    this.#shown = wanted;
    const history = this.role("history");
    if (!history.hasChildNodes()) setText(history, "Loading the attempts…");
    try {
      const { operation } = await server.getOperation(this.op.operation_id);
      history.replaceChildren(
        ...attemptNodes(operation.attempts ?? []),
        ...listNodes("Finished steps, not done again", (operation.steps ?? []).map((step) => spaced(step.name))),
        ...listNodes("Changes to the Python environment", packagesOf(operation)),
        ...listNodes("What else may help", this.#otherAdvice(), this.#language),
      );
    } catch (error) {
      this.#shown = null;
      setText(history, error.message);
    }
  }
}

function attemptNodes(attempts) {
  const heading = Object.assign(document.createElement("h4"), { textContent: "Attempts" });
  if (attempts.length === 0) return [heading, Object.assign(document.createElement("p"), { textContent: "None recorded." })];
  const list = document.createElement("ol");
  for (const attempt of attempts) {
    const item = document.createElement("li");
    item.value = attempt.number;
    item.textContent = attemptSentence(attempt);
    list.append(item);
  }
  return [heading, list];
}

function listNodes(title, texts, lang = "") {
  if (texts.length === 0) return [];
  const list = Object.assign(document.createElement("ul"), { lang });
  for (const text of texts) list.append(Object.assign(document.createElement("li"), { textContent: text }));
  return [Object.assign(document.createElement("h4"), { textContent: title }), list];
}
