// Words and numbers for people: plain functions from data to text, without a page or a server.

/** State → [words on the card, section of the page]. `exhausted` gets its number in stateWords. */
export const STATES = {
  pending: ["Waiting to start", "active"],
  in_progress: ["Running", "active"],
  recovering: ["Waiting to try again", "active"],
  paused: ["Paused", "active"],
  success: ["Done", "finished"],
  failed: ["Failed — needs you", "attention"],
  exhausted: ["Gave up", "attention"],
  cancelled: ["Cancelled", "finished"],
};

const KINDS = {
  download: "Download",
  install_node: "Node install",
  validate_workflow: "Workflow check",
  create_project: "Project import",
  make_environment: "Python environment",
  install_comfyui: "ComfyUI",
  install_requirements: "Packages",
  function: "Task",
};

const WAITING_FOR = {
  retry_after: "the server asked us to wait",
  breaker: "this server failed several times, so it gets a rest",
  disk_space: "waiting for free disk space",
  disk: "waiting for the disk to be back",
  program: "waiting for another program",
  slot: "waiting for its turn",
};

/** What a project consists of. Of nodes and models there are several, so that theirs has the name beside it. */
const PARTS = {
  environment: "Python environment",
  comfyui: "ComfyUI",
  node: "Node",
  requirements: "Packages of the import",
  model: "Model",
  file: "File",
  workflow: "Workflow",
  closing: "Last steps",
};
const NAMED_PARTS = new Set(["node", "model", "file"]);

const OUTCOMES = {
  success: "worked",
  failure: "failed",
  error: "failed",
  interrupted: "was interrupted",
  abandoned: "was cut off when the launcher stopped",
  timeout: "took too long",
};

export const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

/** An identifier such as "checksum_mismatch" as words, for values this page has no text for. */
export const spaced = (id) => String(id ?? "").replaceAll("_", " ");

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const kindWords = (kind) => KINDS[kind] ?? sentence(spaced(kind) || "task");

export const sectionOf = (state) => STATES[state]?.[1] ?? "active";

export function stateWords({ state, attempt, next_attempt_at: due }) {
  // After a restart of the launcher: what waited has kept its due time, what ran goes on in a moment.
  if (state === "pending" && attempt > 0) return due ? STATES.recovering[0] : "Waiting to go on";
  if (state === "exhausted" && attempt > 0) return `Gave up after ${plural(attempt, "attempt")}`;
  return STATES[state]?.[0] ?? sentence(spaced(state));
}

export function attemptWords({ attempt, max_attempts: most }) {
  if (!attempt) return "";
  return most ? `Attempt ${attempt} of ${most}` : `Attempt ${attempt}`;
}

export const titleOf = (op) => op.title || op.key || op.function_name || "Operation";

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
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s / 60} min`;
  if (s < 172800) {
    const minutes = Math.floor((s % 3600) / 60);
    return minutes ? `${Math.floor(s / 3600)} h ${minutes} min` : `${Math.floor(s / 3600)} h`;
  }
  return `${Math.floor(s / 86400)} days`;
}

/** Time left, rounded so that it does not flicker: exact below a minute, then to 10 s, then to minutes. */
function etaWords(seconds) {
  if (seconds >= 3600) return durationWords(Math.round(seconds / 60) * 60);
  return durationWords(seconds >= 60 ? Math.round(seconds / 10) * 10 : Math.max(1, seconds));
}

export function agoWords(iso, now) {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 45) return "just now";
  if (seconds < 3570) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 84600) return `${Math.round(seconds / 3600)} h ago`;
  return `${plural(Math.round(seconds / 86400), "day")} ago`;
}

export function timeWords(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
}

/** What an operation waits for and until when; `now` is the server's time in ms. Empty when it does not wait. */
export function countdownWords(op, now) {
  if (op.state !== "recovering" && op.state !== "pending") return "";
  const why = WAITING_FOR[op.waiting_for] ?? "";
  const until = op.next_attempt_at ? Date.parse(op.next_attempt_at) : NaN;
  if (Number.isNaN(until)) return why ? `${sentence(why)}.` : "";
  const seconds = Math.ceil((until - now) / 1000);
  if (seconds <= 0) return why && op.waiting_for === "slot" ? `${sentence(why)}.` : "Trying again now…";
  return `Next attempt in ${durationWords(seconds)}${why ? ` (${why})` : ""}`;
}

/** The last error in plain words; marked as past where the operation is no longer stopped by it. */
export function explanationWords({ state, explanation, waiting_for: waits }) {
  if (!explanation || state === "success" || state === "cancelled") return "";
  return state === "in_progress" || (state === "pending" && !waits) ? `Last attempt: ${explanation}` : explanation;
}

/** Whether it waits for a person who might want to know what to do about it. */
export const needsAdvice = ({ state, fix }) => sectionOf(state) === "attention" && Boolean(fix) && fix !== "none";

const listOf = (value) => (Array.isArray(value) ? value.filter((one) => one && typeof one === "object") : []);

/** Sentences that a person should know although nothing failed: [{message, fix}]. */
export const warningsOf = (op) =>
  listOf(op.metadata?.warnings).filter(({ message }) => message).map(({ message, fix }) => ({ message: String(message), fix: fix ?? "" }));

const partName = ({ what, name }) =>
  what in PARTS && !NAMED_PARTS.has(what) ? PARTS[what] : `${PARTS[what] ?? sentence(spaced(what))} ${name ?? ""}`.trim();

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
  const names = (...wanted) => parts.filter((part, i) => wanted.includes(states[i])).map(partName);
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

/** What became of a package: "numpy 2.0.0 was added", "numpy was 1.26.4 and is 2.0.0 now". */
export function packageWords({ name, before, after }) {
  if (!before) return `${name} ${after} was added`;
  return after ? `${name} was ${before} and is ${after} now` : `${name} ${before} was removed`;
}

/** The packages of an environment that an operation has changed, as sentences. */
export const packagesOf = (op) => listOf(op.metadata?.environment_changes).map((change) => `${packageWords(change)}.`);

/** Everything a card says about progress: {percent, keptPercent, amount, kept, message}, or null. */
export function progressWords(op) {
  const p = op.progress;
  if (!p || op.state === "cancelled" || op.state === "success") return null;
  const running = op.state === "in_progress";
  const share = (n) => (p.total > 0 ? Math.min(100, Math.max(0, (100 * n) / p.total)) : null);
  const percent = share(p.done);
  if (p.unit !== "bytes") {
    if (p.unit === "percent") return { percent, keptPercent: 0, amount: percent === null ? "" : `${Math.floor(percent)}%`, kept: "", message: p.message ?? "" };
    // One step is begun or done: a bar that stands at 0 would look stuck.
    if (p.total === 1) return { percent: null, keptPercent: 0, amount: "", kept: "", message: p.message ?? "" };
    const amount = p.total ? `${p.done} of ${plural(p.total, "step")} done` : p.done ? `${plural(p.done, "step")} done` : "";
    return { percent, keptPercent: 0, amount, kept: "", message: p.message ?? "" };
  }
  const parts = [p.total ? `${bytesWords(p.done)} of ${bytesWords(p.total)}` : bytesWords(p.done)];
  if (percent !== null) parts.push(`${Math.floor(percent)}%`);
  if (running && p.rate > 0) parts.push(`${bytesWords(p.rate)}/s`);
  if (running && p.eta_s != null && Number.isFinite(p.eta_s)) parts.push(`${etaWords(p.eta_s)} left`);
  // While nothing runs, a resumable operation keeps all it has; a running one tells what it began with.
  const keptBytes = Math.min(p.done, running || !op.resumable ? (p.resumed ?? 0) : p.done);
  let kept = "";
  if (keptBytes > 0) kept = running ? `${bytesWords(keptBytes)} kept from earlier attempts` : `${bytesWords(keptBytes)} kept for the next attempt`;
  return { percent, keptPercent: share(keptBytes) ?? 0, amount: parts.join(" · "), kept, message: p.message ?? "" };
}

/** One finished attempt as a sentence: "failed after 12 s (network): Connection reset. Then a wait of 4 s." */
export function attemptSentence(attempt) {
  const took = (Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) / 1000;
  let text = attempt.ended_at ? (OUTCOMES[attempt.outcome] ?? (spaced(attempt.outcome) || "ended")) : "is running";
  if (Number.isFinite(took)) text += ` after ${durationWords(took)}`;
  if (attempt.category) text += ` (${spaced(attempt.category)})`;
  if (attempt.error) text += `: ${attempt.error}`;
  if (!/[.!?]$/.test(text)) text += ".";
  if (attempt.delay_s > 0) text += ` Then a wait of ${durationWords(attempt.delay_s)}.`;
  return text;
}

/** A circuit breaker that is not closed, in words; `until` and `now` are server times in ms. */
export function breakerWords({ scope, operation_type: kind, state, failure_count: failures, until }, now) {
  const name = [String(scope ?? "").replace(/^host:/, "") || "A server", kind ? `(${kindWords(kind).toLowerCase()})` : ""];
  const who = name.filter(Boolean).join(" ");
  if (String(state).startsWith("half")) return `${who}: being tried with one request.`;
  const seconds = Math.ceil((until - now) / 1000);
  const next = seconds > 0 ? `Tried again in ${durationWords(seconds)}.` : "Tried again with the next request.";
  return `${who}: resting after ${plural(failures, "failure")}. ${next}`;
}

/** What a mode other than "recover" means for the person, or "". */
export function modeWords({ enabled, mode, persistence_enabled: kept }) {
  if (enabled === false || mode === "off") return "Recovery is off. Operations run as before: nothing is tried again.";
  if (mode === "observe") return "Only watching. Failures are listed here, but nothing is tried again.";
  if (kept === false) return "Nothing is saved to disk. A restart of the launcher forgets this list.";
  return "";
}
