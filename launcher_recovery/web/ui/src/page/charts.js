// Attempts over time, how many of them worked, and what resuming has saved: plain SVG, and the same as a table.

import { html, nothing, svg } from "../part.js";
import { t } from "../i18n.js";
import { bytesWords, timeWords } from "../text.js";
import { Asking } from "./asking.js";

const RANGES = [24, 24 * 7, 24 * 30];
const WIDTH = 600;
const HEIGHT = 120;

export class Charts extends Asking {
  #hours = RANGES[0];

  get asked() {
    return ["performance", { hours: this.#hours }];
  }

  shown() {
    const { history, totals } = this.found.performance;
    const failed = history.reduce((sum, bucket) => sum + bucket.failed, 0);
    const range = (hours) => (hours > 24 ? t("charts.days", { n: hours / 24 }) : t("charts.hours", { n: hours }));
    return html`<h2>${t("view.charts")}</h2>
      <p class="field"><label for="hours">${t("charts.range")}</label><select id="hours" @change=${this.#choose}>
        ${RANGES.map((hours) => html`<option value=${hours} ?selected=${hours === this.#hours}>${range(hours)}</option>`)}</select></p>
      ${totals.attempts ? html`
        ${figure("attempts", t("charts.sum.attempts", { n: totals.attempts, failed }), bars(history, [["good", ({ succeeded }) => succeeded], ["bad", (bucket) => bucket.failed]]),
          html`<p class="legend"><span class="key good"></span>${t("charts.succeeded")} <span class="key bad"></span>${t("charts.failed")}</p>`)}
        ${figure("rate", t("charts.sum.rate", { percent: Math.round(100 * (totals.success_rate ?? 0)) }), line(history))}
        ${figure("saved", t("charts.sum.saved", { bytes: bytesWords(totals.bytes_resumed) }), bars(history, [["kept", ({ bytes_resumed: bytes }) => bytes]]))}
        ${table(history)}` : html`<p class="empty">${t("charts.none")}</p>`}`;
  }

  #choose({ target }) {
    this.#hours = Number(target.value);
    this.look();
  }
}

/** A chart with its title and, in one sentence, what it comes to. */
function figure(name, sum, drawing, legend = nothing) {
  return html`<figure data-chart=${name}><figcaption><strong>${t(`charts.${name}`)}</strong> <span class="soft">${sum}</span></figcaption>
    <svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${t(`charts.${name}`)}${t("colon")}${sum}">${drawing}</svg>${legend}</figure>`;
}

/** Bars, with parts on top of each other: [[class, from a bucket to its number], …]. */
function bars(history, parts) {
  const most = Math.max(1, ...history.map((bucket) => parts.reduce((sum, [, number]) => sum + number(bucket), 0)));
  const step = WIDTH / Math.max(1, history.length);
  return history.map((bucket, i) => {
    let y = HEIGHT;
    return parts.map(([kind, number]) => {
      const height = (number(bucket) / most) * (HEIGHT - 4);
      y -= height;
      return height ? svg`<rect class="bar-${kind}" x=${(i * step + step * 0.1).toFixed(1)} y=${y.toFixed(1)} width=${(step * 0.8).toFixed(1)} height=${height.toFixed(1)}></rect>` : nothing;
    });
  });
}

/** The share that worked, as a line with a dot for each bucket in which something was tried. */
function line(history) {
  const step = WIDTH / Math.max(1, history.length);
  const points = history.flatMap(({ attempts, succeeded }, i) =>
    attempts ? [[((i + 0.5) * step).toFixed(1), (HEIGHT - 6 - (succeeded / attempts) * (HEIGHT - 12)).toFixed(1)]] : []);
  return svg`<polyline class="rate" points=${points.map((point) => point.join(",")).join(" ")}></polyline>
    ${points.map(([x, y]) => svg`<circle class="rate-dot" cx=${x} cy=${y} r="4"></circle>`)}`;
}

function table(history) {
  const some = history.filter(({ attempts }) => attempts);
  return html`<details><summary>${t("charts.table")}</summary><div class="scroll" tabindex="0" role="group" aria-label=${t("charts.table")}><table>
    <thead><tr><th scope="col">${t("charts.from")}</th><th scope="col">${t("charts.attempts")}</th><th scope="col">${t("charts.failed")}</th><th scope="col">${t("charts.saved")}</th></tr></thead>
    <tbody>${some.map(({ from, attempts, failed, bytes_resumed: bytes }) => html`<tr><th scope="row">${timeWords(from)}</th><td>${attempts}</td><td>${failed}</td><td>${bytesWords(bytes)}</td></tr>`)}</tbody>
  </table></div></details>`;
}

customElements.define("recovery-charts", Charts);
