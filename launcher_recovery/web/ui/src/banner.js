// A small bar at the bottom of the launcher's own pages, and a line in the card of each project that recovery works on.
// It lives in shadow trees, so that neither side's styles reach the other.
const HOME = new URL("../", import.meta.url);
const API = new URL("../api/recovery/", HOME);
const STATES = ["in_progress", "recovering", "pending", "paused", "failed", "exhausted"];
const NEEDING = new Set(["failed", "exhausted"]);
const QUIET_MS = 5000;
const BUSY_MS = 2000;
const AWAY_MS = 30_000; // between looks once the server has not answered several times
const PATIENCE = 3;
const ANSWER_MS = 10_000;
const SETTLED_MS = 250; // after a change of the page, before cards are looked for
const LONGEST = 140;
const HIDDEN = "launcher-recovery.hidden";
const MARK = "data-launcher-recovery";

const WORDS = {
  en: {
    name: "Recovery",
    colon: ": ",
    comma: ", ",
    running: (n) => `${n} running`,
    waiting: (n, due) => `${n} waiting${due ? ` (next attempt ${due})` : ""}`,
    needing: (n) => `${n} ${n === 1 ? "needs" : "need"} you`,
    hide: "Hide until there is something new",
    states: {
      in_progress: "Running",
      recovering: "Waiting to try again",
      pending: "Waiting to start",
      paused: "Paused",
      failed: "Failed, and needs you",
      exhausted: "Gave up, and needs you",
    },
    queued: "Queued",
    due: (when) => `next attempt ${when}`,
    now: "now",
    within: (seconds) => {
      if (seconds < 60) return `in ${seconds} s`;
      return seconds < 3600 ? `in ${Math.floor(seconds / 60)} min ${seconds % 60} s` : `in ${Math.round(seconds / 360) / 10} h`;
    },
    problem: ({ message }) => message,
  },
  zh: {
    name: "恢复",
    colon: "：",
    comma: "，",
    running: (n) => `${n} 个正在运行`,
    waiting: (n, due) => `${n} 个在等待${due ? `（${due}重试）` : ""}`,
    needing: (n) => `${n} 个需要您处理`,
    hide: "隐藏，直到有新情况",
    states: {
      in_progress: "正在运行",
      recovering: "等待重试",
      pending: "等待开始",
      paused: "已暂停",
      failed: "失败，需要您处理",
      exhausted: "已放弃，需要您处理",
    },
    queued: "排队中",
    due: (when) => `${when}重试`,
    now: "现在",
    within: (seconds) => {
      if (seconds < 60) return `${seconds} 秒后`;
      return seconds < 3600 ? `${Math.floor(seconds / 60)} 分 ${seconds % 60} 秒后` : `${Math.round(seconds / 360) / 10} 小时后`;
    },
    problem: ({ code, message }) => {
      const command = /`([^`]+)`/.exec(message)?.[1] ?? "launcher-recovery run -- celery …";
      if (code === "no_worker") return `有导入在排队，但没有 worker 在监听：请用 ${command} 启动一个。`;
      return `有导入在排队，但正在监听的 worker 没有启用恢复：请改用 ${command} 启动。`;
    },
  },
};
const LANGUAGE = /^zh\b/i.test(navigator.language || "") ? "zh" : "en";
const words = WORDS[LANGUAGE];
const WORKER_PROBLEMS = new Set(["no_worker", "worker_not_woven"]);

const STYLE = `
  :host { all: initial; display: block; }
  [hidden] { display: none !important; }
  * { box-sizing: border-box; font: 14px/1.4 system-ui, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei", sans-serif; }
  .bar, .line { --ground: #fff; --text: #1c2225; --edge: #566067; --link: #1f6391; color: var(--text); background: var(--ground); border: 1px solid var(--edge); border-left: 5px solid var(--state); overflow-wrap: anywhere; }
  .bar { --state: #1f6391; position: fixed; right: 16px; bottom: 16px; z-index: 2147483000; max-width: min(30rem, calc(100vw - 32px)); display: flex; gap: 8px; align-items: flex-start; padding: 8px 8px 8px 12px; border-radius: 8px; box-shadow: 0 2px 10px #0004; }
  .line { --state: #1f6391; display: block; margin-top: 8px; padding: 4px 10px; border-radius: 6px; }
  .waiting { --state: #8a5200; } .needing { --state: #b3261e; }
  .words { display: grid; gap: 4px; font-variant-numeric: tabular-nums; }
  a { color: inherit; text-decoration: none; }
  .line a, .line a * { font-size: 13px; }
  .name { color: var(--link); font-weight: 600; text-decoration: underline; text-underline-offset: 2px; }
  a:hover { text-decoration: underline; text-underline-offset: 2px; }
  :focus-visible { outline: 3px solid #1a5fb4; outline-offset: 2px; border-radius: 3px; }
  button { flex: none; width: 28px; height: 28px; padding: 0; border: 0; border-radius: 6px; color: inherit; background: transparent; cursor: pointer; font-size: 18px; line-height: 1; }
  button:hover { background: #8883; }
  .heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  .dark { --ground: #1c2226; --text: #e7ebe9; --edge: #75818a; --link: #7cbce6; --state: #7cbce6; }
  .dark.waiting { --state: #e6b25e; } .dark.needing { --state: #ff9d92; }
  .dark :focus-visible { outline-color: #8cc3ff; }
  @media (prefers-reduced-motion: no-preference) { .bar { animation: come .2s ease-out; } }
  @keyframes come { from { opacity: 0; transform: translateY(8px); } }
  @media print { .bar, .line { display: none; } }`;

let skew = 0; // milliseconds to add to Date.now() to get the server's time
let silent = 0; // looks in a row that were not answered
let groups = []; // [{ root, state, shown, due }], see grouped()
let problems = [];
let lookTimer = null;
let tickTimer = null;
let settleTimer = null;
let bar = null;
const lines = new Map(); // project → its line
const observer = new MutationObserver(() => {
  settleTimer ??= setTimeout(() => {
    settleTimer = null;
    guarded(drawLines);
  }, SETTLED_MS);
});

// Whatever happens here, the launcher's page is not disturbed.
function guarded(work) {
  try {
    work();
  } catch {
    // drawn again with the next look
  }
}

// ---- looking -----------------------------------------------------------------------------------------

async function get(path) {
  const sent = Date.now();
  const response = await fetch(new URL(path, API), { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  const body = await response.json();
  if (!response.ok || !body.success) throw new Error(`HTTP ${response.status}`);
  const guess = Date.parse(body.now ?? body.recovery?.now) - (sent + Date.now()) / 2;
  if (Number.isFinite(guess)) skew = guess;
  return body;
}

async function look() {
  lookTimer = null;
  if (document.hidden) return; // goes on when it is seen again
  try {
    const { recovery: status } = await get("status");
    const some = status.active_operations + status.failed_operations > 0;
    const { operations } = some ? await get(`operations?limit=200&state=${STATES}`) : { operations: [] };
    groups = grouped(operations);
    problems = status.problems.filter(({ code }) => WORKER_PROBLEMS.has(code));
    silent = 0;
  } catch {
    silent += 1;
    if (silent >= PATIENCE) [groups, problems] = [[], []]; // what was known is old
  }
  guarded(draw);
  const busy = groups.some(({ state }) => state !== "needing");
  const pause = silent > PATIENCE ? AWAY_MS : busy ? BUSY_MS : QUIET_MS;
  lookTimer ??= setTimeout(look, pause);
}

/** What belongs together, an import and its parts, as one: what it comes to, and the operation that tells why. */
function grouped(operations) {
  const known = new Map(operations.map((op) => [op.operation_id, op]));
  const parents = new Set(operations.map((op) => op.parent_id));
  const families = new Map();
  for (const op of operations) {
    let root = op;
    for (let steps = 0; known.has(root.parent_id) && steps < 20; steps += 1) root = known.get(root.parent_id);
    if (!families.has(root)) families.set(root, []);
    families.get(root).push(op);
  }
  return [...families].map(([root, members]) => {
    // What only waits for its parts does not run itself.
    const leaves = members.filter((op) => !parents.has(op.operation_id) || op.state !== "in_progress");
    const find = (...states) => members.find((op) => states.includes(op.state));
    if (NEEDING.has(root.state)) return { root, state: "needing", shown: root.explanation ? root : (members.find((op) => NEEDING.has(op.state) && op.explanation) ?? root) };
    const running = leaves.find((op) => op.state === "in_progress");
    if (running) return { root, state: "running", shown: running };
    const due = members.filter((op) => ["recovering", "pending"].includes(op.state) && op.next_attempt_at).sort((a, b) => Date.parse(a.next_attempt_at) - Date.parse(b.next_attempt_at))[0];
    if (due) return { root, state: "waiting", shown: due, due: Date.parse(due.next_attempt_at) };
    const waiting = find("recovering", "pending", "paused");
    if (waiting) return { root, state: "waiting", shown: waiting };
    const failed = find("failed", "exhausted");
    return failed ? { root, state: "needing", shown: failed } : { root, state: "running", shown: root };
  });
}

// ---- words -------------------------------------------------------------------------------------------

function dueWords(due) {
  if (!Number.isFinite(due)) return "";
  const seconds = Math.ceil((due - Date.now() - skew) / 1000);
  return seconds > 0 ? words.within(seconds) : words.now;
}

function barWords(withDue) {
  const of = (state) => groups.filter((group) => group.state === state);
  const [running, waiting, needing] = ["running", "waiting", "needing"].map(of);
  const due = Math.min(...waiting.map((group) => group.due ?? Infinity));
  const parts = [
    running.length ? words.running(running.length) : "",
    waiting.length ? words.waiting(waiting.length, withDue ? dueWords(due) : "") : "",
    needing.length ? words.needing(needing.length) : "",
  ].filter(Boolean);
  return parts.join(words.comma);
}

function lineWords({ root, state, shown, due }) {
  const op = state === "needing" ? root : shown;
  const parts = [root.metadata?.queued && root.state === "pending" ? words.queued : (words.states[op.state] ?? op.state)];
  if (Number.isFinite(due)) parts.push(words.due(dueWords(due)));
  const { done, total } = shown.progress ?? {};
  if (state === "running" && total > 1) parts.push(`${Math.min(100, Math.floor((100 * done) / total))} %`);
  const reason = state === "running" ? "" : (shown.explanation ?? "");
  if (reason) parts.push(reason.length > LONGEST ? `${reason.slice(0, LONGEST - 1)}…` : reason);
  return parts.join(" · ");
}

// ---- drawing -----------------------------------------------------------------------------------------

const element = (name, more) => Object.assign(document.createElement(name), more);

const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/** Whether the launcher's page is dark there: many are light whatever the person prefers. */
function isDark(node) {
  for (let place = node; place; place = place.parentElement) {
    const [red, green, blue, opacity = 1] = (getComputedStyle(place).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
    if (opacity > 0.5) return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
  }
  return getComputedStyle(document.documentElement).colorScheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches;
}

const classes = (kind, state, place) => `${kind} ${state}${isDark(place) ? " dark" : ""}`;

/** A link of the name, and of what is said in `rest`. */
function makeLink(href) {
  const rest = element("span");
  const link = element("a", { href });
  link.append(element("span", { className: "name", textContent: words.name }), rest);
  return { link, rest };
}

function inShadow(host, ...nodes) {
  const root = host.attachShadow({ mode: "open" });
  try {
    const sheet = new CSSStyleSheet(); // which a policy against inline styles allows
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
  } catch {
    root.append(element("style", { textContent: STYLE }));
  }
  root.append(...nodes);
  return host;
}

function makeBar() {
  const { link, rest } = makeLink(HOME.href);
  const said = element("div");
  const heard = element("div", { className: "heard", role: "status" });
  const hide = element("button", { type: "button", textContent: "×", title: words.hide });
  hide.setAttribute("aria-label", words.hide);
  hide.addEventListener("click", () => guarded(() => {
    remember(keys());
    draw();
  }));
  const inside = element("div", { className: "words" });
  inside.append(link, said);
  const box = element("section", { className: "bar", hidden: true, lang: LANGUAGE });
  box.setAttribute("aria-label", words.name);
  box.append(inside, hide);
  const host = element("div");
  host.setAttribute(MARK, "");
  return { host: inShadow(host, box, heard), box, rest, said, heard };
}

/** What there is to be told, so that what was hidden by the person can be told from what is new. */
const keys = () => [...groups.map(({ root, state }) => `${root.operation_id} ${state === "needing"}`), ...problems.map(({ code }) => code)];

function remember(hidden) {
  try {
    localStorage.setItem(HIDDEN, JSON.stringify(hidden));
  } catch {
    // forgotten with the page
  }
  remembered = new Set(hidden);
}

function recall() {
  try {
    return new Set(JSON.parse(localStorage.getItem(HIDDEN) ?? "[]"));
  } catch {
    return new Set();
  }
}

let remembered = recall();

function drawBar() {
  const shown = keys().some((key) => !remembered.has(key));
  if (!shown && !bar) return;
  bar ??= makeBar();
  if (!bar.host.isConnected) document.body.append(bar.host);
  const worst = problems.length || groups.some(({ state }) => state === "needing") ? "needing" : groups.some(({ state }) => state === "running") ? "running" : "waiting";
  bar.box.className = classes("bar", worst, document.body);
  bar.box.hidden = !shown;
  const counts = barWords(true);
  setText(bar.rest, counts && words.colon + counts);
  setText(bar.said, problems.map(words.problem).join(" "));
  bar.said.hidden = problems.length === 0;
  // Without the countdown, which would be read out every second.
  setText(bar.heard, shown ? [words.name, barWords(false), bar.said.textContent].filter(Boolean).join(". ") : "");
}

/** The places of projects in the page: what carries its id, says "ID: …", or is headed by its name. */
function placesOf(projects) {
  const found = new Map();
  const names = new Map();
  for (const [project, { root }] of projects) {
    names.set(`ID: ${project}`, [project, 1]);
    for (const name of [project, root.kind === "create_project" ? root.title : ""]) if (name && !names.has(name)) names.set(name, [project, 0]);
  }
  const take = (project, rank, place) => {
    if (place && !(found.get(project)?.rank >= rank)) found.set(project, { rank, place });
  };
  for (const node of document.querySelectorAll("h1, h2, h3, h4, p, [data-project-id], [data-id]")) {
    const id = node.dataset.projectId ?? node.dataset.id;
    if (projects.has(id)) take(id, 2, node);
    const [project, rank] = node.childElementCount === 0 ? (names.get(node.textContent.trim()) ?? []) : [];
    if (project !== undefined) take(project, rank, node.parentElement);
  }
  return found;
}

function makeLine(project) {
  const { link, rest } = makeLink(HOME.href);
  const box = element("div", { lang: LANGUAGE });
  box.append(link);
  const host = element("div");
  host.setAttribute(MARK, project);
  return { host: inShadow(host, box), box, link, rest };
}

function drawLines() {
  const projects = new Map();
  for (const group of groups) {
    const project = group.root.project;
    // Of several the import tells most.
    if (project && (!projects.has(project) || group.root.kind === "create_project")) projects.set(project, group);
  }
  const places = projects.size ? placesOf(projects) : new Map();
  for (const [project, line] of lines) {
    if (places.has(project)) continue;
    line.host.remove();
    lines.delete(project);
  }
  for (const [project, { place }] of places) {
    if (!lines.has(project)) lines.set(project, makeLine(project));
    const { host, box, link, rest } = lines.get(project);
    const group = projects.get(project);
    box.className = classes("line", group.state, place);
    link.href = `${HOME.href}#${group.root.operation_id}`;
    setText(rest, words.colon + lineWords(group));
    if (host.parentElement !== place) place.append(host);
  }
  // Cards come and go as the launcher's page is drawn anew.
  if (projects.size) observer.observe(document.body, { childList: true, subtree: true });
  else observer.disconnect();
}

function draw() {
  drawBar();
  drawLines();
  if (tickTimer === null && !document.hidden && groups.some(({ due }) => Number.isFinite(due))) {
    tickTimer = setTimeout(() => {
      tickTimer = null;
      guarded(draw);
    }, 1000);
  }
}

function begin() {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    clearTimeout(lookTimer);
    look();
  });
  look();
}

// A page within a page has it once, in the outer one.
if (window.top === window) guarded(begin);
