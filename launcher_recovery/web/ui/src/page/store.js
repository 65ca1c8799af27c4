// What the page knows of the operations: one record each, changed only by newer news.

const stamp = (op) => Date.parse(op.updated_at ?? op.created_at) || 0;

export class Store {
  /** operation_id → {op, seq}; `seq` is that of the newest news about it */
  entries = new Map();
  /** every event up to this one is contained; null until a list was loaded */
  lastSeq = null;

  /**
   * Take a list that contains all events up to `seq`. `complete`: what it does not name no longer exists.
   * `force`: the server began to count anew, so what is known counts for nothing.
   */
  load({ operations, seq, complete, force }) {
    if (force) {
      this.entries.clear();
      this.lastSeq = null;
    }
    const named = new Set();
    for (const op of operations) {
      named.add(op.operation_id);
      const entry = this.entries.get(op.operation_id);
      if (!entry || entry.seq <= seq) this.entries.set(op.operation_id, { op, seq });
    }
    if (complete) {
      for (const [id, entry] of this.entries) if (!named.has(id) && entry.seq <= seq) this.entries.delete(id);
    }
    this.lastSeq = Math.max(this.lastSeq ?? 0, seq);
  }

  /** Take one operation from an answer. Without `seq` (answers to a button) the later updated_at wins. */
  take(op, seq = null) {
    const entry = this.entries.get(op.operation_id);
    const newer = !entry || (seq === null ? stamp(op) >= stamp(entry.op) : seq >= entry.seq);
    if (newer) this.entries.set(op.operation_id, { op: { ...entry?.op, ...op }, seq: Math.max(entry?.seq ?? 0, seq ?? 0) });
  }

  /** Apply one event. Returns the operation's id when it has to be fetched because the event says too little. */
  apply(name, data) {
    const { seq, timestamp, ...news } = data;
    this.lastSeq = Math.max(this.lastSeq ?? 0, seq);
    if (name !== "recovery_update" && name !== "recovery_completed") return null;
    const id = news.operation_id;
    const entry = this.entries.get(id);
    if (entry && seq <= entry.seq) return null;
    if (name === "recovery_update") {
      const op = { created_at: timestamp, ...entry?.op, ...news, updated_at: timestamp };
      this.entries.set(id, { op, seq });
      return null;
    }
    if (!entry) return id;
    const { final_state: state, total_attempts: attempt } = news;
    const missed = entry.op.state !== state;
    const op = { ...entry.op, state, attempt: attempt ?? entry.op.attempt, duration: news.duration, updated_at: timestamp };
    if (missed) Object.assign(op, { actions: [], next_attempt_at: null, waiting_for: null });
    this.entries.set(id, { op, seq });
    return missed ? id : null;
  }

  get(id) {
    return this.entries.get(id)?.op;
  }

  /** The operations that a search finds; `state` may be several with commas between. */
  matching({ state, kind, project, text }) {
    const wanted = text?.toLowerCase();
    const fits = (op) =>
      (!state || state.split(",").includes(op.state)) && (!kind || op.kind === kind) && (!project || op.project === project) &&
      (!wanted || [op.title, op.key, op.project, op.operation_id, op.function_name].some((one) => String(one ?? "").toLowerCase().includes(wanted)));
    return [...this.entries.values()].map(({ op }) => op).filter(fits);
  }

  /** Parents with their children: [{op, children: [...]}]. A child whose parent is unknown stands alone. */
  tree() {
    const nodes = new Map();
    for (const [id, { op }] of this.entries) nodes.set(id, { op, children: [] });
    const roots = [];
    for (const node of nodes.values()) {
      const parent = nodes.get(node.op.parent_id);
      if (parent && !this.#isAncestor(node.op.operation_id, parent.op)) parent.children.push(node);
      else roots.push(node);
    }
    return roots;
  }

  // Guards against a circle of parents, which would make cards vanish.
  #isAncestor(id, op) {
    for (let steps = 0; op && steps < 20; steps += 1) {
      if (op.operation_id === id) return true;
      op = this.get(op.parent_id);
    }
    return Boolean(op);
  }
}
