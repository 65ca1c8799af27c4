// The bar of progress, on the page and in the launcher's cards: what earlier attempts brought is striped.

import { html, nothing } from "lit-html";
import { t } from "./i18n.js";
import { vars } from "./part.js";
import { progressWords, titleOf } from "./text.js";

/** The bar alone; nothing where there is no progress. An unknown total while nothing moves says nothing. */
export function trackOf(op, words = progressWords(op)) {
  if (!words || (words.percent === null && op.state !== "in_progress")) return nothing;
  const { percent, keptPercent, amount } = words;
  const known = percent !== null;
  return html`<div class="track ${known ? "" : "unknown"}" role="progressbar" aria-valuemin="0" aria-valuemax="100"
    aria-label=${t("progress.of", { title: titleOf(op) })} aria-valuenow=${known ? Math.floor(percent) : nothing}
    aria-valuetext=${amount || t("progress.running")} ${vars({ "--done": `${percent ?? 0}%`, "--kept": `${keptPercent}%` })}>
    <div class="fill"></div><div class="kept"></div></div>`;
}

/** The bar of an operation, and what is said beside it; nothing where there is no progress. */
export function progressOf(op) {
  const words = progressWords(op);
  if (!words) return nothing;
  return html`<div class="progress" data-role="progress-block">${trackOf(op, words)}
    <p data-role="progress"><span data-part="amount">${words.amount}</span> ${words.kept ? html`<span data-part="kept">${words.kept}</span>` : nothing}</p>
  </div>`;
}
