// The page: sections and header, put together from the store, the cards and the live connection.

import * as server from "./server.js";
import { Card, setOptional, setShown, setText } from "./cards.js";
import { Store } from "./store.js";
import { breakerWords, modeWords, plural, sectionOf, stateWords, titleOf } from "./words.js";

const RECENT_MS = 600_000; // finished operations stay in sight this long
const RECENT_MOST = 5;
const CONNECTION = { live: "Live", reconnecting: "Reconnecting…", polling: "Polling" };
const RANK = { failed: 0, exhausted: 0, in_progress: 1, recovering: 1, pending: 2, paused: 2 };

const role = (name) => document.querySelector(`[data-role="${name}"]`);
const section = (name) => document.querySelector(`[data-section="${name}"]`);
const store = new Store();
const cards = new Map(); // operation_id → Card
const breakers = new Map(); // scope and type → {…, until, seq}
const announced = new Map(); // operation_id → state words last known to the listener
let older = null; // cursor of the next page of old operations
let loaded = false;
let named = location.hash.slice(1);
let announcing = false;
let statusTimer = null;
let drawTimer = null;

// ---- drawing -------------------------------------------------------------------------------------------

// Many events in one moment make one drawing; a timer, because hidden tabs get no animation frames.
function draw() {
  drawTimer ??= setTimeout(() => {
    drawTimer = null;
    drawNow();
  }, 30);
}

const time = (iso) => Date.parse(iso) || 0;
const rank = ({ op }) => RANK[op.state] ?? 3;
const byBirth = (a, b) => time(a.op.created_at) - time(b.op.created_at) || (a.op.operation_id < b.op.operation_id ? -1 : 1);

function drawNow() {
  const roots = store.tree();
  for (const [id, card] of cards) {
    if (store.get(id)) continue;
    card.root.remove();
    cards.delete(id);
    announced.delete(id);
  }
  const places = { attention: [], active: [], finished: [] };
  for (const node of roots) {
    drawNode(node, null);
    const found = new Set(family(node).map(({ op }) => sectionOf(op.state)));
    node.rank = Math.min(...family(node).map(rank));
    const place = ["attention", "active", "finished"].find((name) => found.has(name));
    places[place].push(node);
  }
  for (const name of ["attention", "active"]) {
    places[name].sort((a, b) => a.rank - b.rank || byBirth(b, a));
    arrange(section(name).querySelector("ul"), places[name]);
    setShown(section(name), places[name].length > 0);
  }
  drawFinished(places.finished);
  const quiet = places.attention.length + places.active.length === 0;
  const empty = role("empty");
  setShown(empty, loaded && quiet);
  setText(empty, roots.length ? "Nothing is running, and nothing needs you." : "Nothing here yet. Downloads, node installs and project imports appear here when the launcher starts them.");
  const needing = [...store.entries.values()].filter(({ op }) => sectionOf(op.state) === "attention").length;
  const title = needing ? `(${needing} ${needing === 1 ? "needs" : "need"} you) Recovery` : "Recovery";
  if (document.title !== title) document.title = title;
  announce();
  showNamed();
}

/** Once: bring the card into sight whose id the address ends with, as links of the launcher's own pages do. */
function showNamed() {
  const card = named && cards.get(named);
  if (!card || !loaded) return;
  named = "";
  for (let fold = card.root.parentElement.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  card.root.scrollIntoView({ block: "start" });
  card.$("h3").focus({ preventScroll: true });
}

addEventListener("hashchange", () => {
  named = location.hash.slice(1);
  showNamed();
});

function drawFinished(nodes) {
  const now = server.serverNow();
  const ended = (node) => Math.max(...family(node).map(({ op }) => time(op.updated_at)));
  nodes.sort((a, b) => ended(b) - ended(a) || byBirth(b, a));
  const recent = nodes.filter((node) => now - ended(node) < RECENT_MS).slice(0, RECENT_MOST);
  const earlier = nodes.slice(recent.length);
  arrange(section("finished").querySelector('[data-list="recent"]'), recent);
  arrange(section("finished").querySelector('[data-list="earlier"]'), earlier);
  const fold = role("earlier");
  setShown(fold, earlier.length > 0 || Boolean(older));
  setText(fold.querySelector("summary"), `Earlier (${earlier.length}${older ? " or more" : ""})`);
  setShown(fold.querySelector('[data-action="older"]'), Boolean(older));
  setShown(section("finished"), nodes.length > 0 || Boolean(older));
}

const family = (node) => [node, ...node.children.flatMap(family)];

function drawNode(node, parent) {
  const id = node.op.operation_id;
  let card = cards.get(id);
  if (!card) cards.set(id, (card = new Card(node.op, (answer) => changed(id, answer))));
  card.update(node.op, parent);
  node.children.sort((a, b) => rank(a) - rank(b) || byBirth(a, b));
  for (const child of node.children) drawNode(child, card);
  arrange(card.childList, node.children);
  card.updateParts(node.children);
}

/** Put the cards of `nodes` into `list` in this order, touching only those that stand elsewhere. */
function arrange(list, nodes) {
  const focused = document.activeElement;
  let place = list.firstElementChild;
  for (const { op } of nodes) {
    const { root } = cards.get(op.operation_id);
    if (root === place) place = place.nextElementSibling;
    else list.insertBefore(root, place);
  }
  // Cards that belong elsewhere now are fetched by their new list; moving a node drops the focus.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/** Tell state changes to screen readers: never countdowns, and many at once as a number. */
function announce() {
  const news = [];
  for (const [id, { op }] of store.entries) {
    const words = stateWords(op);
    if (announced.get(id) === words) continue;
    // An old finished operation that turns up (a further page of the list) is no news.
    if (announced.has(id) || sectionOf(op.state) !== "finished") news.push(`${titleOf(op)}: ${words}.`);
    announced.set(id, words);
  }
  // What was there when the page was opened is read, not announced.
  if (announcing && news.length) setText(role("announcer"), news.length > 3 ? `${plural(news.length, "operation")} changed.` : news.join(" "));
  announcing = loaded;
}

// ---- header and banners --------------------------------------------------------------------------------

function showStatus(status) {
  role("counts").hidden = false;
  for (const node of role("counts").querySelectorAll("dd")) setText(node, String(status[node.dataset.count] ?? 0));
  setOptional(role("mode"), modeWords(status));
  showList("problems", (status.problems ?? []).map((problem) => problem.message));
  const seq = status.seq ?? 0;
  for (const [key, breaker] of breakers) if (breaker.seq <= seq) breakers.delete(key);
  for (const breaker of status.breakers ?? []) keepBreaker(breaker, seq, server.serverNow());
  showBreakers();
}

function showList(name, texts) {
  const list = role(name).querySelector("ul");
  while (list.children.length > texts.length) list.lastElementChild.remove();
  while (list.children.length < texts.length) list.append(document.createElement("li"));
  texts.forEach((text, i) => setText(list.children[i], text));
  setShown(role(name), texts.length > 0);
}

function keepBreaker(breaker, seq, at) {
  const key = `${breaker.scope} ${breaker.operation_type}`;
  if (breakers.get(key)?.seq > seq) return;
  breakers.set(key, { ...breaker, seq, until: at + 1000 * (breaker.timeout_remaining ?? 0) });
}

function showBreakers() {
  const open = [...breakers.values()].filter((breaker) => breaker.state !== "closed");
  showList("breakers", open.map((breaker) => breakerWords(breaker, server.serverNow())));
}

async function refreshStatus() {
  showStatus(await server.getStatus());
}

// The counts change with almost every event; asking once a second at most is enough.
function refreshStatusSoon() {
  statusTimer ??= setTimeout(() => {
    statusTimer = null;
    refreshStatus().catch(() => {});
  }, 1000);
}

// ---- news ----------------------------------------------------------------------------------------------

async function refresh({ force, polling = false }) {
  try {
    const [list] = await Promise.all([server.getOperations(), refreshStatus()]);
    // While polling no events come, so a number below ours can only mean that the server counts anew.
    const anew = force || (polling && list.seq < store.lastSeq);
    if (anew) breakers.clear();
    store.load({ ...list, complete: !list.next, force: anew });
    if (!loaded || anew || !list.next) older = list.next;
    loaded = true;
    role("loading").hidden = true;
    setOptional(role("page-error"), "");
    draw();
  } catch (error) {
    role("loading").hidden = true;
    setOptional(role("page-error"), error.status ? error.message : `${error.message} This page goes on by itself when it is back.`);
    throw error;
  }
}

async function fetchOne(id) {
  try {
    const { operation, seq } = await server.getOperation(id);
    store.take(operation, seq ?? operation.seq ?? null);
  } catch (error) {
    if (error.status === 404) store.entries.delete(id);
  }
  draw();
}

const asked = new Set(); // operations to be fetched with the next round
let askTimer = null;

// What events leave out, such as the parts of an import; once a second at most, however many events there are.
function fetchSoon(id) {
  asked.add(id);
  askTimer ??= setTimeout(() => {
    askTimer = null;
    for (const one of asked) fetchOne(one);
    asked.clear();
  }, 1000);
}

/** A button of operation `id` was answered. */
async function changed(id, answer) {
  if (answer.operation) store.take(answer.operation);
  else await fetchOne(id);
  if (answer.retry_id && answer.retry_id !== id) await fetchOne(answer.retry_id);
  drawNow();
  refreshStatusSoon();
}

server.goLive({
  refresh,
  lastSeq: () => store.lastSeq,
  connection(state) {
    const node = role("connection");
    node.dataset.state = state;
    setText(role("connection-text"), CONNECTION[state]);
  },
  event(name, data) {
    if (name === "circuit_breaker_update") {
      keepBreaker(data, data.seq, time(data.timestamp));
      showBreakers();
    }
    const before = store.get(data.operation_id)?.state;
    const incomplete = store.apply(name, data);
    if (incomplete) fetchOne(incomplete);
    else if (name === "recovery_completed" || store.get(data.operation_id)?.kind === "create_project") fetchSoon(data.operation_id);
    if (store.get(data.operation_id)?.state !== before) refreshStatusSoon();
    draw();
  },
});

role("earlier").querySelector("button").addEventListener("click", async ({ currentTarget: button }) => {
  button.disabled = true;
  try {
    const page = await server.getPage({ before: older });
    for (const op of page.operations) if (!store.get(op.operation_id)) store.take(op, page.seq);
    older = page.next;
  } catch (error) {
    setOptional(role("page-error"), error.message);
  }
  button.disabled = false;
  draw();
});

setInterval(() => {
  const now = server.serverNow();
  for (const card of cards.values()) if (card.op.state === "recovering" || card.op.state === "pending") card.tick(now);
  if (breakers.size) showBreakers();
}, 250);
// "3 min ago" and the move of finished cards into the fold need no more than this.
setInterval(() => {
  for (const card of cards.values()) card.tick(server.serverNow());
  draw();
}, 15_000);
