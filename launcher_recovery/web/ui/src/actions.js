// The buttons of an operation, on the page and in the launcher's cards.

import { html, nothing } from "lit-html";
import { t } from "./i18n.js";
import { titleOf } from "./text.js";

const ACTIONS = ["pause", "resume", "retry", "cancel"];

/** What a button says: what waits anyway is tried at once. */
const label = (op, action) => t(action === "retry" && ["recovering", "pending"].includes(op.state) ? "action.now" : `action.${action}`);

/** More than the name of an action: who does not wait for a server's rest tries it out. */
export const bodyOf = (op, action) => (action === "retry" && op.waiting_for === "breaker" ? { force: true } : {});

/**
 * The buttons, or the question whether it is to be cancelled. `press(action)` is told of pause, resume, retry, cancel (ask),
 * confirm-cancel and keep.
 */
export function actionsOf(op, { asking, busy, press }) {
  const legal = op.actions ?? [];
  const title = titleOf(op);
  const ask = asking && legal.includes("cancel");
  const button = (action, words, kind, shown) => html`<button type="button" class=${kind} data-action=${action} ?hidden=${!shown}
    aria-disabled=${busy ? "true" : "false"} aria-label=${t("action.on", { action: words, title })} @click=${() => busy || press(action)}>${words}</button>`;
  const escape = (event) => event.key === "Escape" && press("keep");
  return html`<div class="actions" data-role="actions" ?hidden=${ask || legal.length === 0}>
      ${ACTIONS.map((action) => button(action, label(op, action), action === "cancel" ? "quiet" : "", legal.includes(action)))}
    </div>
    <div class="confirm" data-role="confirm" role="group" aria-label=${t("action.cancel")} ?hidden=${!ask} @keydown=${escape}>
      ${ask ? html`<p>${t("cancel.sure", { title })}</p>` : nothing}
      <button type="button" class="danger" data-action="confirm-cancel" aria-disabled=${busy ? "true" : "false"} @click=${() => busy || press("confirm-cancel")}>${t("cancel.yes")}</button>
      <button type="button" data-action="keep" @click=${() => press("keep")}>${t("cancel.no")}</button>
    </div>`;
}
