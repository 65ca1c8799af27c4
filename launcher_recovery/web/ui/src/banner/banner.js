// A small bar at the bottom of the launcher's own pages, and a line in the card of each project that recovery works on.
// Whatever happens here, the launcher's page is not disturbed.

import { preferred, speak, t } from "../i18n.js";
import { get, getStatus, settle } from "../server.js";
import { Bar } from "./bar.js";
import { grouped } from "./grouping.js";
import { Line } from "./line.js";
import { dress } from "./look.js";
import { placesOf } from "./places.js";

const HOME = new URL("../", import.meta.url);
const STATES = ["in_progress", "recovering", "pending", "paused", "failed", "exhausted"];
const WORKER_PROBLEMS = new Set(["no_worker", "worker_not_woven"]);
const QUIET_MS = 5000;
const BUSY_MS = 2000;
const AWAY_MS = 30_000; // between looks once the server has not answered several times
const PATIENCE = 3;
const SETTLED_MS = 250; // after a change of the page, before cards are looked for
const HIDDEN = "launcher-recovery.hidden";
const MARK = "data-launcher-recovery";

let silent = 0; // looks in a row that were not answered
let groups = [];
let problems = [];
let lookTimer = null;
let tickTimer = null;
let settleTimer = null;
let bar = null;
let remembered = recall();
const lines = new Map(); // project, or the id of what has none → its line
const observer = new MutationObserver(() => {
  settleTimer ??= setTimeout(() => {
    settleTimer = null;
    guarded(draw);
  }, SETTLED_MS);
});

function guarded(work) {
  try {
    work();
  } catch {
    // drawn again with the next look
  }
}

async function look() {
  lookTimer = null;
  if (document.hidden) return; // goes on when it is seen again
  try {
    const status = await getStatus();
    const some = status.active_operations + status.failed_operations > 0;
    const { operations } = some ? await get("operations", { limit: 200, state: STATES }) : { operations: [] };
    groups = grouped(operations);
    problems = status.problems.filter(({ code }) => WORKER_PROBLEMS.has(code));
    silent = 0;
  } catch (error) {
    silent += 1;
    if (silent >= PATIENCE) [groups, problems] = [[], []]; // what was known is old
    if (error.status === 401) [groups, problems] = [[], [{ code: error.code, message: t("login.needed") }]];
  }
  guarded(draw);
  const busy = groups.some(({ state }) => state !== "needing");
  const pause = silent > PATIENCE ? AWAY_MS : busy ? BUSY_MS : QUIET_MS;
  lookTimer ??= setTimeout(look, pause);
}

function lookNow() {
  clearTimeout(lookTimer);
  look();
}

/** What there is to be told, so that what was hidden by the person can be told from what is new. */
const keys = () => [...groups.map(({ root, state }) => `${root.operation_id} ${state === "needing"}`), ...problems.map(({ code }) => code)];

function hide() {
  const hidden = keys();
  try {
    localStorage.setItem(HIDDEN, JSON.stringify(hidden));
  } catch {
    // forgotten with the page
  }
  remembered = new Set(hidden);
  guarded(draw);
}

function recall() {
  try {
    return new Set(JSON.parse(localStorage.getItem(HIDDEN) ?? "[]"));
  } catch {
    return new Set();
  }
}

function lineOf(key, group) {
  if (!lines.has(key)) lines.set(key, Object.assign(new Line(), { home: HOME.href, changed: lookNow }));
  return Object.assign(lines.get(key), { group });
}

/** Put lines into cards; the lines of what has none are returned. */
function drawLines() {
  const byProject = new Map();
  const others = [];
  for (const group of groups) {
    const { project, kind } = group.root;
    // Of several the import tells most.
    if (project && (!byProject.has(project) || kind === "create_project")) byProject.set(project, group);
    else if (!project) others.push(group);
  }
  const places = byProject.size ? placesOf(byProject) : new Map();
  const used = new Set();
  for (const [project, { place }] of places) {
    const line = lineOf(project, byProject.get(project));
    used.add(project);
    line.setAttribute(MARK, project);
    line.isAlone = false;
    if (line.parentElement !== place) place.append(line);
    line.requestUpdate();
  }
  const homeless = [...[...byProject].filter(([project]) => !places.has(project)), ...others.map((group) => [group.root.operation_id, group])].map(([key, group]) => {
    const line = lineOf(key, group);
    used.add(key);
    line.removeAttribute(MARK);
    line.isAlone = true;
    line.requestUpdate();
    return line;
  });
  for (const [key, line] of lines) {
    if (used.has(key)) continue;
    line.remove();
    lines.delete(key);
  }
  // Cards come and go as the launcher's page is drawn anew.
  if (groups.length) observer.observe(document.body, { childList: true, characterData: true, subtree: true });
  else observer.disconnect();
  return homeless;
}

function draw() {
  const homeless = drawLines();
  const shown = keys().some((key) => !remembered.has(key));
  if (shown || bar) {
    bar ??= Object.assign(new Bar(), { home: HOME.href, hide });
    bar.setAttribute(MARK, "");
    if (!bar.isConnected) document.body.append(bar);
    Object.assign(bar, { groups, problems, shown, lines: homeless });
    bar.requestUpdate();
  }
  if (tickTimer === null && !document.hidden && groups.some(({ due }) => Number.isFinite(due))) {
    tickTimer = setTimeout(() => {
      tickTimer = null;
      guarded(draw);
    }, 1000);
  }
}

async function begin() {
  settle(HOME);
  customElements.define("recovery-line", Line);
  customElements.define("recovery-banner", Bar);
  // In English where the words do not come; without its style nothing is shown.
  await Promise.all([speak(preferred()).catch(() => {}), dress(HOME)]);
  document.addEventListener("visibilitychange", () => document.hidden || lookNow());
  look();
}

// A page within a page has it once, in the outer one; and a page that names the script twice has it once.
if (window.top === window && !customElements.get("recovery-banner")) begin().catch(() => {});
