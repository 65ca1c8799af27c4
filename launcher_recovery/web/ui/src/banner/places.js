// Where in the launcher's page something belongs, and how it looks there.

/** The places of projects in the page, {rank, place} by project: what carries its id, says "ID: …", or is headed by its name. */
export function placesOf(projects) {
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
    // A row of a grid is laid out by it: the card is what is in it.
    if (projects.has(id)) take(id, 2, node.querySelector("[role=gridcell]") ?? node);
    const [project, rank] = node.childElementCount === 0 ? (names.get(node.textContent.trim()) ?? []) : [];
    if (project !== undefined) take(project, rank, node.parentElement);
  }
  return found;
}

/** Whether the launcher's page is dark there: many are light whatever the person prefers. */
export function isDark(node) {
  for (let place = node; place; place = place.parentElement) {
    const [red, green, blue, opacity = 1] = (getComputedStyle(place).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
    if (opacity > 0.5) return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
  }
  if (node.closest(".dark")) return true;
  return getComputedStyle(document.documentElement).colorScheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches;
}
