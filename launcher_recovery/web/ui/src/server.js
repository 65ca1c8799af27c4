// Requests to /api/recovery, and the server's clock.

import { language, t } from "./i18n.js";

const PATIENCE_MS = 15_000;

let base = "";
let skew = 0; // milliseconds to add to Date.now() to get the server's time

/** Where /recovery/ is; to be called before anything else. */
export function settle(home) {
  base = new URL("../api/recovery/", home);
}

/** The address of something of the API. */
export const addressOf = (path) => new URL(path, base).href;

/** The server's time in ms since 1970. */
export const serverNow = () => Date.now() + skew;

/** A refused or failed request; `message` is a sentence for people, `status` 0 when nobody answered. */
export class ApiError extends Error {
  constructor(message, status = 0, { code = "", params } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = params?.field; // what of the request is wrong, where that is known
  }

  /** This server has no such part of the API: it says so, or the launcher around it answers with a page of its own. */
  get isMissing() {
    return [404, 405].includes(this.status) && ["", "not_found", "method_not_allowed"].includes(this.code);
  }
}

async function request(path, options, patience = PATIENCE_MS) {
  const sent = Date.now();
  let response;
  let body;
  try {
    response = await fetch(addressOf(path), { ...options, cache: "no-store", signal: AbortSignal.timeout(patience) });
  } catch {
    throw new ApiError(t("no_answer"));
  }
  const received = Date.now();
  const { status } = response;
  try {
    body = await response.json();
  } catch {
    throw new ApiError(t("unreadable", { status }), status);
  }
  // What is not well is told with 503, and is an answer all the same.
  if (body.success === false && body.error) throw new ApiError(body.error.message ?? t("refused", { status }), status, body.error);
  if (!response.ok && status !== 503) throw new ApiError(t("refused", { status }), status);
  // The server read its clock somewhere between sending and receiving. The middle is the best guess; it is
  // taken only when the old one cannot be right, so that slow answers do not make countdowns jump.
  const guess = Date.parse(body.now ?? body.recovery?.now ?? body.operation?.now) - (sent + received) / 2;
  if (Math.abs(guess - skew) > (received - sent) / 2) skew = guess;
  return body;
}

/** GET; what is null or empty in `query` is left out. */
export function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return request(given.length ? `${path}?${new URLSearchParams(given)}` : path);
}

/** POST, or another method, with a JSON body; `patience` in milliseconds. */
export const send = (path, body = {}, { method = "POST", patience } = {}) =>
  request(path, { method, headers: { "Content-Type": "application/json", "X-Launcher-Recovery": "1" }, body: JSON.stringify(body) }, patience);

/** The path of an operation, and of something of it. */
export const of = (id, rest = "") => `operations/${encodeURIComponent(id)}${rest}`;

export const getStatus = async () => (await get("status")).recovery;

export const getOperation = (id) => get(of(id));

export const getPage = (query) => get("operations", { limit: 100, ...query });

/** What a person can do about an operation, best first: [{fix, title, text}], and in which language that is. */
export const getAdvice = (id) => get(of(id, "/advice"), { language });

/** Do `action` (pause, resume, retry, cancel) to an operation. */
export const control = (id, action, body) => send(of(id, `/${action}`), body);

/**
 * The newest operations, and all that are not finished however old they are.
 * Returns {operations, seq, next}; `seq` is the lowest of the answers: all events up to it are contained.
 */
export async function getOperations() {
  const first = await getPage();
  if (!first.next) return { operations: first.operations, seq: first.seq, next: null };
  const states = ["in_progress", "recovering", "pending", "paused", "failed", "exhausted"];
  const others = await Promise.all(states.map((state) => getPage({ state })));
  // The first answer is the oldest, so it goes last and does not overwrite what the later ones say.
  const found = new Map();
  for (const page of [first, ...others]) for (const op of page.operations) found.set(op.operation_id, op);
  return { operations: [...found.values()], seq: first.seq, next: first.next };
}
