// How the launcher is: circuit breakers, processes, disk, and a self-test.

import { html, nothing } from "../part.js";
import { t } from "../i18n.js";
import { send, serverNow } from "../server.js";
import { agoWords, breakerWords, bytesWords, problemWords, spaced } from "../text.js";
import { Asking } from "./asking.js";

const LOOK_MS = 10_000;
const TEST_MS = 120_000;

export class System extends Asking {
  static properties = ["breakers", "access"];

  #timer = null;
  #testing = false;
  #test = null; // what the self-test said
  #testError = "";

  get asked() {
    return ["health", {}];
  }

  connectedCallback() {
    super.connectedCallback();
    this.#timer = setInterval(() => document.hidden || this.look(), LOOK_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.#timer);
  }

  shown() {
    const { workers, disk, extensions, problems = [], persistence_healthy: kept, system_healthy: whole } = this.found;
    const well = kept !== false && whole !== false && problems.length === 0;
    return html`<section data-role="health"><h2>${t("system.health")}</h2>
        ${well ? html`<p>${t("system.good")}</p>` : html`<ul class="plain">${problems.map((problem) => html`<li>${problemWords(problem)}</li>`)}</ul>`}</section>
      <section data-role="all-breakers"><h2>${t("system.breakers")}</h2>
        ${this.breakers?.length ? html`<ul class="plain">${this.breakers.map((breaker) => html`<li>${breakerWords(breaker, serverNow())}</li>`)}</ul>` : html`<p>${t("system.breakers.none")}</p>`}</section>
      ${workers?.length ? html`<section data-role="workers"><h2>${t("system.workers")}</h2><ul class="plain">${workers.map(workerItem)}</ul></section>` : nothing}
      ${disk?.length ? html`<section data-role="disk"><h2>${t("system.disk")}</h2><ul class="plain">${disk.map(diskItem)}</ul></section>` : nothing}
      ${extensions?.length ? html`<section data-role="extensions"><h2>${t("system.extensions")}</h2><ul class="plain">${extensions.map(extensionItem)}</ul></section>` : nothing}
      ${this.access?.known ? this.#testPart() : nothing}`;
  }

  #testPart() {
    const { trusted } = this.access;
    return html`<section data-role="self-test"><h2>${t("system.test")}</h2><p>${t("system.test.what")}</p>
      <p><button type="button" data-action="test" ?disabled=${!trusted} aria-disabled=${this.#testing ? "true" : "false"} @click=${this.#run}>${t(this.#testing ? "system.test.running" : "system.test.run")}</button></p>
      ${trusted ? nothing : html`<p class="soft">${t("not_trusted")}</p>`}
      <div role="status" data-role="test-result">${this.#test ? html`<p>${t(this.#test.passed ? "system.test.passed" : "system.test.failed")}</p>
        <ul class="plain" lang="en">${this.#test.results.map(({ title, passed, detail }) => html`<li class=${passed ? "good" : "bad"}>${passed ? "✓" : "✗"} ${title}${detail ? `: ${detail}` : nothing}</li>`)}</ul>` : nothing}${this.#testError}</div></section>`;
  }

  async #run() {
    if (this.#testing) return;
    this.#testing = true;
    this.#test = null;
    this.#testError = "";
    this.requestUpdate();
    try {
      this.#test = await send("test", {}, { patience: TEST_MS });
    } catch (error) {
      this.#testError = error.message;
    }
    this.#testing = false;
    this.requestUpdate();
  }
}

function workerItem({ host, pid, heartbeat_at: seen, alive, role }) {
  const parts = [
    t("system.worker", { role: spaced(role) || t("system.worker.role"), host, pid }),
    t(alive ? "system.alive" : "system.dead"),
    seen ? t("system.seen", { ago: agoWords(seen, serverNow()) }) : "",
  ];
  return html`<li data-alive=${alive ? "true" : "false"}>${parts.filter(Boolean).join(" · ")}</li>`;
}

function extensionItem({ name, package: origin, version, state, hooks, problem }) {
  const parts = [origin, version, state === "disabled" ? t("system.disabled") : (problem ?? hooks.join(t("comma")))];
  return html`<li><strong>${name}</strong>${t("colon")}${parts.filter(Boolean).join(" · ")}</li>`;
}

function diskItem({ path, free, total, low }) {
  return html`<li><strong>${path}</strong>${t("colon")}${t("system.free", { free: bytesWords(free), total: bytesWords(total) })}${low ? html` · <strong class="bad">${t("system.low")}</strong>` : nothing}
    <meter min="0" max=${total} low=${low ? free + 1 : 0} value=${total - free} aria-label=${path}></meter></li>`;
}

customElements.define("recovery-system", System);
