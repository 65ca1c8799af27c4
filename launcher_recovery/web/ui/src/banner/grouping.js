// What belongs together, an import and its parts, as one.

const NEEDING = new Set(["failed", "exhausted"]);

/**
 * Groups of operations: [{root, state, shown, due}]. `state` is what each comes to: running, waiting or needing; `shown` the
 * operation that tells why, `due` when it is tried again, in milliseconds.
 */
export function grouped(operations) {
  const known = new Map(operations.map((op) => [op.operation_id, op]));
  const parents = new Set(operations.map((op) => op.parent_id));
  const families = new Map();
  for (const op of operations) {
    let root = op;
    for (let steps = 0; known.has(root.parent_id) && steps < 20; steps += 1) root = known.get(root.parent_id);
    if (!families.has(root)) families.set(root, []);
    families.get(root).push(op);
  }
  return [...families].map(([root, members]) => ({ root, ...standing(root, members, parents) }));
}

function standing(root, members, parents) {
  const find = (...states) => members.find((op) => states.includes(op.state));
  if (NEEDING.has(root.state)) {
    const told = root.explanation ? root : members.find((op) => NEEDING.has(op.state) && op.explanation);
    return { state: "needing", shown: told ?? root };
  }
  // What only waits for its parts does not run itself.
  const running = members.find((op) => op.state === "in_progress" && !parents.has(op.operation_id));
  if (running) return { state: "running", shown: running };
  const due = members
    .filter((op) => ["recovering", "pending"].includes(op.state) && op.next_attempt_at)
    .sort((a, b) => Date.parse(a.next_attempt_at) - Date.parse(b.next_attempt_at))[0];
  if (due) return { state: "waiting", shown: due, due: Date.parse(due.next_attempt_at) };
  const waiting = find("recovering", "pending", "paused");
  if (waiting) return { state: "waiting", shown: waiting };
  const failed = find("failed", "exhausted");
  return failed ? { state: "needing", shown: failed } : { state: "running", shown: root };
}
