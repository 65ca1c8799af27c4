// How a project stands, in its card: state, attempt, progress, and the buttons.

import { html, nothing } from "lit-html";
import { actionsOf, bodyOf } from "../actions.js";
import { language, t } from "../i18n.js";
import { trackOf } from "../progress.js";
import { control, serverNow } from "../server.js";
import { durationWords, progressWords, stateWords, titleOf } from "../text.js";
import { Guest } from "./look.js";

const LONGEST = 140;

/** When something is due, as words; empty when that is not known. */
export function dueWords(due) {
  if (!Number.isFinite(due)) return "";
  const seconds = Math.ceil((due - serverNow()) / 1000);
  return seconds > 0 ? t("banner.in", { time: durationWords(seconds) }) : t("banner.now");
}

/** Whose progress is shown: the project's, as far as it is known. */
const movingOf = ({ root, shown }) => (progressWords(root)?.percent == null ? shown : root);

function wordsOf(group) {
  const { root, state, shown, due } = group;
  const op = state === "needing" ? root : shown;
  const { attempt: n, max_attempts: most } = op;
  const moving = movingOf(group);
  const percent = state === "running" ? progressWords(moving)?.percent : null;
  const share = percent == null ? [] : [`${Math.floor(percent)} %`];
  const parts = [t(`banner.${op.state}`, {}, stateWords({ ...op, attempt: 0, metadata: root.metadata }))];
  // What stands behind the name of a part is its own: its attempt, and its share where the project's is not known.
  if (op !== root) parts.push(...(moving === root ? share.splice(0) : []), titleOf(op));
  if (n && most) parts.push(t("banner.attempt", { n, most }));
  if (Number.isFinite(due)) parts.push(t("banner.due", { when: dueWords(due) }));
  parts.push(...share);
  const reason = state === "running" ? "" : (shown.explanation ?? "");
  if (reason) parts.push(reason.length > LONGEST ? `${reason.slice(0, LONGEST - 1)}…` : reason);
  return parts.join(" · ");
}

export class Line extends Guest {
  static properties = ["group"];

  #asking = false;
  #busy = false;
  #error = "";

  constructor() {
    super();
    this.home = "";
    this.isAlone = false; // whether no card says whose line it is
    this.changed = () => {}; // told when a button was answered
    // What is pressed here is not meant for the card, which may lead somewhere itself.
    for (const name of ["click", "keydown"]) this.addEventListener(name, (event) => event.stopPropagation());
  }

  willUpdate(changes) {
    if (changes.get("group")?.state !== this.group.state) this.#error = "";
  }

  render() {
    const { root, state, shown } = this.group;
    // Tried again is what waits; all else is done to the whole.
    const actions = [...new Set([...(root.actions ?? []), ...(shown.actions ?? []).filter((action) => action === "retry")])];
    const press = (action) => this.#press(action);
    return html`<div class=${this.look("line", state)} lang=${language}>
      <a href="${this.home}#${root.operation_id}"><span class="name">${this.isAlone ? titleOf(root) : t("banner.name")}</span><span>${t("colon")}${wordsOf(this.group)}</span></a>
      ${state === "needing" ? nothing : trackOf(movingOf(this.group))}
      ${actionsOf({ ...root, state: shown.state, actions }, { asking: this.#asking, busy: this.#busy, press })}
      ${this.#error ? html`<div role="alert">${this.#error}</div>` : nothing}
    </div>`;
  }

  async #press(action) {
    if (action === "cancel" || action === "keep") {
      this.#asking = action === "cancel";
      this.requestUpdate();
      await this.updateComplete;
      this.root.querySelector(`[data-action="${this.#asking ? "confirm-cancel" : "cancel"}"]`)?.focus();
      return;
    }
    const { root, shown } = this.group;
    const wanted = action === "confirm-cancel" ? "cancel" : action;
    const op = (root.actions ?? []).includes(wanted) ? root : shown;
    this.#busy = true;
    this.#error = "";
    this.requestUpdate();
    try {
      await control(op.operation_id, wanted, bodyOf(op, wanted));
      this.#asking = false;
    } catch (error) {
      this.#error = error.message;
    }
    this.#busy = false;
    this.requestUpdate();
    this.changed();
  }
}
