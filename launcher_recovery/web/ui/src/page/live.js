// Live news over Socket.IO, or by asking while there are none.

import { Socket } from "./socket.js";

const POLL_MS = 2000;
const ANSWER_MS = 5000;
const RECHECK_MS = 30_000;

/**
 * Keep a page up to date. `page` has:
 *   refresh({force}) loads everything again (may throw);  lastSeq() → number or null;
 *   event(name, data) takes one event;                    connection(state) is told live, reconnecting or polling.
 */
export function goLive(page) {
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
      const answer = await socket.ask("subscribe_recovery", { since }, ANSWER_MS);
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
      setTimeout(() => socket.isConnected && mine === round && subscribe(), POLL_MS);
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

  const socket = new Socket(new URL("../socket.io", document.baseURI).pathname, {
    connect: subscribe,
    failed: startPolling,
    disconnect() {
      round += 1;
      subscribed = false;
      waiting = [];
      page.connection("reconnecting");
      startPolling();
    },
    event(event, data) {
      if (typeof data?.seq !== "number") return;
      if (subscribed) page.event(event, data);
      else waiting.push({ event, data });
    },
  });

  // Whatever was missed for reasons nobody thought of is put right here, also after the computer slept.
  const recheck = () => subscribed && !document.hidden && page.refresh({ force: false }).catch(() => {});
  setInterval(recheck, RECHECK_MS);
  document.addEventListener("visibilitychange", recheck);
}
