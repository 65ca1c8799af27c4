// Talking to the server: requests to /api/recovery, its clock, and live news over Socket.IO or by asking.

import { io } from "socket.io-client";

const BASE = new URL("../api/recovery/", document.baseURI);
const POLL_MS = 2000;
const ANSWER_MS = 5000;
const RECHECK_MS = 30000;
const NO_ANSWER = "The launcher does not answer. Check that it is running.";

let skew = 0; // milliseconds to add to Date.now() to get the server's time

/** The server's time in ms since 1970. */
export const serverNow = () => Date.now() + skew;

/** A refused or failed request; `message` is a sentence for people, `status` 0 when nobody answered. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  const sent = Date.now();
  let response;
  let body;
  try {
    response = await fetch(new URL(path, BASE), { ...options, cache: "no-store", signal: AbortSignal.timeout(15000) });
  } catch {
    throw new ApiError(NO_ANSWER, 0);
  }
  const received = Date.now();
  try {
    body = await response.json();
  } catch {
    throw new ApiError(`The launcher gave an answer this page cannot read (HTTP ${response.status}).`, response.status);
  }
  if (!response.ok || body.success === false) {
    throw new ApiError(body.error?.message ?? `The launcher refused this (HTTP ${response.status}).`, response.status);
  }
  // The server read its clock somewhere between sending and receiving. The middle is the best guess; it is
  // taken only when the old one cannot be right, so that slow answers do not make countdowns jump.
  const guess = Date.parse(body.now ?? body.recovery?.now ?? body.operation?.now) - (sent + received) / 2;
  if (Math.abs(guess - skew) > (received - sent) / 2) skew = guess;
  return body;
}

export const getStatus = async () => (await request("status")).recovery;

export const getOperation = (id) => request(`operations/${encodeURIComponent(id)}`);

/** What a person can do about an operation, best first: [{fix, title, text}], and in which language that is. */
export const getAdvice = (id) => request(`operations/${encodeURIComponent(id)}/advice?${new URLSearchParams({ language: navigator.language || "en" })}`);

export const getPage = (query) => request(`operations?${new URLSearchParams({ limit: 100, ...query })}`);

/** Do `action` (pause, resume, retry, cancel) to an operation. */
export const post = (id, action) =>
  request(`operations/${encodeURIComponent(id)}/${action}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Launcher-Recovery": "1" },
    body: "{}",
  });

/**
 * The newest operations, and all that are not finished however old they are.
 * Returns {operations, seq, next}; `seq` is the lowest of the answers: all events up to it are contained.
 */
export async function getOperations() {
  const first = await getPage({});
  if (!first.next) return { operations: first.operations, seq: first.seq, next: null };
  const states = ["in_progress", "recovering", "pending", "paused", "failed", "exhausted"];
  const others = await Promise.all(states.map((state) => getPage({ state })));
  // The first answer is the oldest, so it goes last and does not overwrite what the later ones say.
  const found = new Map();
  for (const page of [first, ...others]) for (const op of page.operations) found.set(op.operation_id, op);
  return { operations: [...found.values()], seq: first.seq, next: first.next };
}

/**
 * Keep a page up to date. `page` has:
 *   refresh({force}) loads everything again (may throw);  lastSeq() → number or null;
 *   event(name, data) takes one event;                    connection(state) is told live, reconnecting or polling.
 */
export function goLive(page) {
  const socket = io({
    path: new URL("../socket.io", document.baseURI).pathname,
    transports: ["polling", "websocket"],
    reconnectionDelay: 500,
    reconnectionDelayMax: 3000,
  });
  let waiting = []; // events that arrive before the missed ones do
  let subscribed = false;
  let round = 0; // counts connections, so that a late answer to an old one is not taken
  let again = false; // true from the second connection on
  let pollTimer = null;

  function deliver(events) {
    events.sort((a, b) => a.data.seq - b.data.seq);
    for (const { event, data } of events) page.event(event, data);
  }

  async function subscribe() {
    const mine = ++round;
    try {
      await firstLook;
      if (page.lastSeq() === null) await page.refresh({ force: false });
      const since = page.lastSeq();
      const answer = await socket.timeout(ANSWER_MS).emitWithAck("subscribe_recovery", { since });
      if (mine !== round) return;
      // A number below ours means that the server counts anew (its database was replaced).
      if (answer.reset || answer.seq < since) await page.refresh({ force: true });
      else deliver(answer.events ?? []);
      if (mine !== round) return;
      subscribed = true;
      deliver(waiting.splice(0));
      stopPolling();
      page.connection("live");
      // After an interruption the counts and breakers, which have no events, are fetched too.
      if (again) page.refresh({ force: false }).catch(() => {});
      again = true;
    } catch {
      if (mine !== round) return;
      startPolling();
      setTimeout(() => socket.connected && mine === round && subscribe(), POLL_MS);
    }
  }

  async function poll() {
    try {
      await page.refresh({ force: false, polling: true });
      if (pollTimer !== null) page.connection("polling");
    } catch {
      if (pollTimer !== null) page.connection("reconnecting");
    }
    if (pollTimer !== null) pollTimer = setTimeout(poll, POLL_MS);
  }

  function startPolling() {
    if (pollTimer === null) pollTimer = setTimeout(poll, POLL_MS);
  }

  function stopPolling() {
    clearTimeout(pollTimer);
    pollTimer = null;
  }

  // A first look, without waiting for the socket.
  const firstLook = page.refresh({ force: false }).catch(startPolling);

  socket.on("connect", subscribe);
  socket.on("disconnect", (reason) => {
    round += 1;
    subscribed = false;
    waiting = [];
    page.connection("reconnecting");
    startPolling();
    // When the server closes the door itself, the client does not knock again unasked.
    if (reason === "io server disconnect") setTimeout(() => socket.connect(), POLL_MS);
  });
  socket.on("connect_error", startPolling);
  socket.onAny((event, data) => {
    if (typeof data?.seq !== "number") return;
    if (subscribed) page.event(event, data);
    else waiting.push({ event, data });
  });

  // Whatever was missed for reasons nobody thought of is put right here, also after the computer slept.
  const recheck = () => subscribed && !document.hidden && page.refresh({ force: false }).catch(() => {});
  setInterval(recheck, RECHECK_MS);
  document.addEventListener("visibilitychange", recheck);
}
