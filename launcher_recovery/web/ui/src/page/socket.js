// A client of Socket.IO: of its protocol, revision 5, what this page needs, over a connection of engine.io-client, which
// begins by polling and goes over to a websocket where it can.

import { Socket as Engine } from "engine.io-client";

const [CONNECT, EVENT, ACK] = ["0", "2", "3"];
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 3000;

export class Socket {
  #engine = null;
  #isConnected = false;
  #pause = FIRST_PAUSE_MS;
  #asked = new Map(); // number → who waits for the answer
  #number = 0;

  /** `path` of the server's Socket.IO; `on` has connect(), disconnect(), failed() and event(name, data). It connects again by itself. */
  constructor(path, on) {
    this.path = path;
    this.on = on;
    this.#open();
  }

  get isConnected() {
    return this.#isConnected;
  }

  /** The server's answer to an event; fails when there is none within `patience` milliseconds. */
  ask(name, data, patience) {
    const number = this.#number++;
    this.#engine.send(`${EVENT}${number}${JSON.stringify([name, data])}`);
    return new Promise((resolve, reject) => {
      this.#asked.set(number, resolve);
      setTimeout(() => this.#asked.delete(number) && reject(new Error("no answer")), patience);
    });
  }

  #open() {
    this.#engine = new Engine({ path: this.path, transports: ["polling", "websocket"] });
    this.#engine.on("open", () => this.#engine.send(CONNECT));
    this.#engine.on("message", (text) => this.#take(text));
    this.#engine.on("close", () => this.#closed());
  }

  #take(text) {
    const [, kind, number, rest] = /^(\d)(\d*)(.*)$/s.exec(text);
    if (kind === CONNECT) {
      this.#isConnected = true;
      this.#pause = FIRST_PAUSE_MS;
      this.on.connect();
    } else if (kind === EVENT) this.on.event(...JSON.parse(rest));
    else if (kind === ACK) {
      this.#asked.get(Number(number))?.(JSON.parse(rest)[0]);
      this.#asked.delete(Number(number));
    } else this.#engine.close(); // it says good-bye, or refuses
  }

  #closed() {
    if (this.#isConnected) this.on.disconnect();
    else this.on.failed();
    this.#isConnected = false;
    // Not all pages at once, when a server comes back.
    setTimeout(() => this.#open(), this.#pause * (0.5 + Math.random()));
    this.#pause = Math.min(LONGEST_PAUSE_MS, 2 * this.#pause);
  }
}
