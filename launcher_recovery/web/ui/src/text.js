// Data as words and numbers for people: plain functions, without a page or a server.

import { locale, t } from "./i18n.js";

/** State → section of the page. */
const SECTIONS = { success: "finished", cancelled: "finished", failed: "attention", exhausted: "attention" };

export const STATES = ["pending", "in_progress", "recovering", "paused", "success", "failed", "exhausted", "cancelled"];

export const KINDS = ["download", "install_node", "validate_workflow", "create_project", "make_environment", "install_comfyui", "install_requirements"];

/** An identifier such as "checksum_mismatch" as words, for values this page has no text for. */
export const spaced = (id) => String(id ?? "").replaceAll("_", " ");

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const kindWords = (kind) => t(`kind.${kind || "task"}`, {}, sentence(spaced(kind)));

export const sectionOf = (state) => SECTIONS[state] ?? "active";

export function stateWords({ state, attempt, next_attempt_at: due, metadata }) {
  // After a restart of the launcher: what waited has kept its due time, what ran goes on in a moment.
  if (state === "pending" && attempt > 0) return t(due ? "state.recovering" : "state.pending.again");
  if (state === "pending" && metadata?.queued) return t("state.queued");
  if (state === "exhausted" && attempt > 0) return t("state.exhausted.after", { n: attempt });
  return t(`state.${state}`, {}, sentence(spaced(state)));
}

export function attemptWords({ attempt, max_attempts: most }) {
  if (!attempt) return "";
  return most ? t("attempt.of", { n: attempt, most }) : t("attempt", { n: attempt });
}

export const titleOf = (op) => op.title || op.key || op.function_name || t("operation");

/** Bytes as 0 B, 640 kB, 4.2 MB, 70 MB, 6.94 GB (powers of 1000, as download pages show them). */
export function bytesWords(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = Math.max(0, Number(bytes) || 0);
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : unit >= 3 ? 2 : value < 10 ? 1 : 0;
  return `${Number(value.toFixed(digits))} ${units[unit]}`;
}

/** Whole seconds as 7 s, 1 min 5 s, 2 h 10 min, 3 days. */
export function durationWords(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return t("seconds", { s });
  if (s < 3600) return t(s % 60 ? "minutes.seconds" : "minutes", { m: Math.floor(s / 60), s: s % 60 });
  const m = Math.floor((s % 3600) / 60);
  if (s < 172800) return t(m ? "hours.minutes" : "hours", { h: Math.floor(s / 3600), m });
  return t("days", { d: Math.floor(s / 86400) });
}

/** Time left, rounded so that it does not flicker: exact below a minute, then to 10 s, then to minutes. */
function etaWords(seconds) {
  if (seconds >= 3600) return durationWords(Math.round(seconds / 60) * 60);
  return durationWords(seconds >= 60 ? Math.round(seconds / 10) * 10 : Math.max(1, seconds));
}

export function agoWords(iso, now) {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 45) return t("ago.now");
  if (seconds < 3570) return t("ago.minutes", { n: Math.max(1, Math.round(seconds / 60)) });
  if (seconds < 84600) return t("ago.hours", { n: Math.round(seconds / 3600) });
  return t("ago.days", { n: Math.round(seconds / 86400) });
}

export function timeWords(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleString(locale(), { dateStyle: "medium", timeStyle: "medium" });
}

/** What an operation waits for and until when; `now` is the server's time in ms. Empty when it does not wait. */
export function countdownWords(op, now) {
  if (op.state !== "recovering" && op.state !== "pending") return "";
  const why = t(`waiting.${op.waiting_for}`, {}, "");
  const whole = why && t("sentence", { text: sentence(why) });
  const until = op.next_attempt_at ? Date.parse(op.next_attempt_at) : NaN;
  if (Number.isNaN(until)) return whole;
  const seconds = Math.ceil((until - now) / 1000);
  if (seconds <= 0) return op.waiting_for === "slot" ? whole : t("next.now");
  return t(why ? "next.why" : "next", { time: durationWords(seconds), why });
}

/** The last error in plain words; marked as past where the operation is no longer stopped by it. */
export function explanationWords({ state, explanation, waiting_for: waits }) {
  if (!explanation || state === "success" || state === "cancelled") return "";
  return state === "in_progress" || (state === "pending" && !waits) ? t("last_attempt", { explanation }) : explanation;
}

/** Whether it waits for a person who might want to know what to do about it. */
export const needsAdvice = ({ state, fix }) => sectionOf(state) === "attention" && Boolean(fix) && fix !== "none";

const listOf = (value) => (Array.isArray(value) ? value.filter((one) => one && typeof one === "object") : []);

/** Sentences that a person should know although nothing failed: [{message, fix}]. */
export const warningsOf = (op) =>
  listOf(op.metadata?.warnings).filter(({ message }) => message).map(({ message, fix }) => ({ message: String(message), fix: fix ?? "" }));

const partName = ({ what, name }) => t(`part.${what}`, { name: name ?? "" }, `${sentence(spaced(what))} {name}`).trim();

function reasonOf({ reason }) {
  const text = sentence(String(reason ?? ""));
  return !text || /[.!?]$/.test(text) ? text : `${text}.`;
}

const STATE_OF_PART = { success: "done", failed: "failed", exhausted: "failed" };

/**
 * The parts of an import and what became of them, or null when it tells of none:
 * {total, done, coming, finished, leftOut: names, missing: [{name, reason}]}; `children` are the operations in it,
 * which know sooner than the import how they are.
 */
export function outlineOf(op, children) {
  const parts = listOf(op.metadata?.parts);
  if (parts.length === 0) return null;
  const known = new Map(children.map((child) => [child.operation_id, child]));
  const over = sectionOf(op.state) !== "active";
  const states = parts.map((part) => {
    const child = known.get(part.operation_id);
    if (!child || over || part.state === "left_out") return part.state;
    return STATE_OF_PART[child.state] ?? "running";
  });
  const names = (wanted) => parts.filter((part, i) => states[i] === wanted).map(partName);
  const failed = parts.filter((part, i) => ["failed", "blocked"].includes(states[i]));
  // What the launcher does last is no part that a person misses.
  const missing = failed.filter((part) => part.what !== "closing" || part.state !== "blocked");
  return {
    total: parts.length - (failed.length - missing.length),
    done: states.filter((state) => state === "done").length,
    coming: over ? [] : names("waiting"),
    finished: names("done"),
    leftOut: names("left_out"),
    missing: sectionOf(op.state) === "attention" ? missing.map((part) => ({ name: partName(part), reason: reasonOf(part) })) : [],
  };
}

/** The packages of an environment that an operation has changed, as sentences. */
export const packagesOf = (op) =>
  listOf(op.metadata?.environment_changes).map(({ name, before, after }) =>
    t(`package.${before ? (after ? "changed" : "removed") : "added"}`, { name, before, after }));

/** Everything that is shown of progress: {percent, keptPercent, amount, kept, message}, or null. */
export function progressWords(op) {
  const p = op.progress;
  if (!p || op.state === "cancelled" || op.state === "success") return null;
  const running = op.state === "in_progress";
  const share = (n) => (p.total > 0 ? Math.min(100, Math.max(0, (100 * n) / p.total)) : null);
  const percent = share(p.done);
  const words = { percent, keptPercent: 0, amount: "", kept: "", message: p.message ?? "" };
  if (p.unit !== "bytes") {
    if (p.unit === "percent") return { ...words, amount: percent === null ? "" : `${Math.floor(percent)}%` };
    // One step is begun or done: a bar that stands at 0 would look stuck.
    if (p.total === 1) return { ...words, percent: null };
    return { ...words, amount: p.total ? t("progress.steps", { done: p.done, n: p.total }) : p.done ? t("progress.done", { n: p.done }) : "" };
  }
  const amounts = [p.total ? t("progress.amount", { done: bytesWords(p.done), total: bytesWords(p.total) }) : bytesWords(p.done)];
  if (percent !== null) amounts.push(`${Math.floor(percent)}%`);
  if (running && p.rate > 0) amounts.push(`${bytesWords(p.rate)}/s`);
  if (running && p.eta_s != null && Number.isFinite(p.eta_s)) amounts.push(t("progress.left", { time: etaWords(p.eta_s) }));
  // While nothing runs, a resumable operation keeps all it has; a running one tells what it began with.
  const keptBytes = Math.min(p.done, running || !op.resumable ? (p.resumed ?? 0) : p.done);
  const kept = keptBytes > 0 ? t(running ? "progress.kept.earlier" : "progress.kept.next", { bytes: bytesWords(keptBytes) }) : "";
  return { ...words, keptPercent: share(keptBytes) ?? 0, amount: amounts.join(" · "), kept };
}

/** One attempt as a sentence: "failed after 12 s (network): Connection reset. Then a wait of 4 s." */
export function attemptSentence(attempt) {
  const took = (Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) / 1000;
  let text = attempt.ended_at ? t(`outcome.${attempt.outcome}`, {}, spaced(attempt.outcome) || t("outcome.ended")) : t("outcome.running");
  if (Number.isFinite(took)) text += t("attempt.after", { time: durationWords(took) });
  if (attempt.category) text += t("attempt.category", { category: spaced(attempt.category) });
  if (attempt.error) text += t("attempt.error", { error: attempt.error });
  if (!/[.!?。]$/.test(text)) text += t("attempt.end");
  if (attempt.delay_s > 0) text += t("attempt.delay", { time: durationWords(attempt.delay_s) });
  return text;
}

/** A circuit breaker that is not closed, in words; `until` and `now` are server times in ms. */
export function breakerWords({ scope, operation_type: kind, state, failure_count: failures, until }, now) {
  let server = String(scope ?? "").replace(/^host:/, "") || t("breaker.server");
  if (kind) server = t("breaker.kind", { server, kind: kindWords(kind).toLowerCase() });
  if (String(state).startsWith("half")) return t("breaker.trying", { server });
  const seconds = Math.ceil((until - now) / 1000);
  const next = seconds > 0 ? t("breaker.in", { time: durationWords(seconds) }) : t("breaker.next");
  return t("breaker.resting", { server, n: failures, next });
}

/** A problem that the server tells of, in words: where there are none in this language, in the server's. */
export const problemWords = ({ code, message }) =>
  t(`problem.${code}`, { message, command: /`([^`]+)`/.exec(message)?.[1] ?? "launcher-recovery run -- celery …" }, "{message}");

/** What a mode other than "recover" means for the person, or "". */
export function modeWords({ enabled, mode, persistence_enabled: kept }) {
  if (enabled === false || mode === "off") return t("mode.off");
  if (mode === "observe") return t("mode.observe");
  return kept === false ? t("mode.forgets") : "";
}

/** One event, told of an operation whose title is `title` where the event itself does not say it. */
export function eventWords(event, data, title = data.title ?? data.operation_id ?? "") {
  const state = stateWords({ ...data, state: data.state ?? data.final_state, attempt: data.attempt ?? data.total_attempts });
  const names = (data.names ?? []).join(t("comma"));
  const plain = { circuit_breaker_update: data.state }[event] ?? state;
  return t(`log.${event}`, { title, state: plain, scope: String(data.scope ?? "").replace(/^host:/, ""), names }, event);
}
