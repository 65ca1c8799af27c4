"use strict";
// The launcher's page: shows projects and models, asks again each second. Text from outside is only ever text.

const POLL_MS = 1000;
const STATES = { setting_up: "Setting up", ready: "Ready", failed: "Failed", stopped: "Not running" };

const byId = (id) => document.getElementById(id);
let waiting = null;

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(text, bad = false) {
  const message = byId("message");
  message.textContent = text;
  message.classList.toggle("error", bad);
  message.hidden = text === "";
}

async function call(path, method = "GET", body = undefined) {
  const options = { method };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

function shownState(project) {
  return project.state === "setting_up" && !project.busy ? "stopped" : project.state;
}

function makeCard(id) {
  const row = element("div", "row");
  row.setAttribute("role", "row");
  row.dataset.id = id;
  const card = element("article", "card");
  card.setAttribute("role", "gridcell");
  const head = element("div", "card-head");
  head.append(element("h3", "name"), element("span", "pill"));
  const foot = element("div", "card-foot");
  const remove = element("button", "delete", "Delete");
  remove.type = "button";
  remove.addEventListener("click", () => removeProject(id, remove));
  foot.append(element("span", "id", `ID: ${id}`), remove);
  card.append(head, element("p", "status"), foot);
  row.append(card);
  return row;
}

function fillCard(row, project) {
  const put = (selector, text) => {
    const target = row.querySelector(selector);
    if (target.textContent !== text) target.textContent = text;
  };
  const state = shownState(project);
  put(".name", project.name);
  put(".status", project.status_message);
  put(".pill", STATES[state] ?? state);
  row.querySelector(".pill").className = `pill ${state in STATES ? state : ""}`;
  const remove = row.querySelector(".delete");
  remove.setAttribute("aria-label", `Delete ${project.name}`);
  remove.disabled = project.busy;
  remove.title = project.busy ? "A project that is being set up cannot be deleted." : "";
}

function showProjects(projects) {
  const grid = byId("projects");
  const known = new Map([...grid.children].map((row) => [row.dataset.id, row]));
  projects.forEach((project, index) => {
    const row = known.get(project.id) ?? makeCard(project.id);
    known.delete(project.id);
    fillCard(row, project);
    // A card stays in place, so that a focused button keeps its focus.
    if (grid.children[index] !== row) grid.insertBefore(row, grid.children[index] ?? null);
  });
  known.forEach((row) => row.remove());
  byId("no-projects").hidden = projects.length > 0;
  grid.hidden = projects.length === 0;
}

function readable(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

function showModels(models) {
  byId("models").replaceChildren(
    ...models.map((model) => {
      const item = document.createElement("li");
      item.append(element("span", "path", model.path), element("span", "size", readable(model.size)));
      return item;
    }),
  );
  byId("no-models").hidden = models.length > 0;
}

let lost = false;

async function refresh() {
  clearTimeout(waiting);
  try {
    const [projects, models] = await Promise.all([call("/api/projects"), call("/api/models")]);
    showProjects(projects.projects);
    showModels(models.models);
    if (lost) say("");
    lost = false;
  } catch {
    lost = true;
    say("The launcher does not answer; this page tries again each second.", true);
  }
  clearTimeout(waiting);
  waiting = setTimeout(refresh, POLL_MS);
}

async function act(button, work) {
  button.disabled = true;
  say("");
  try {
    await work();
  } catch (problem) {
    say(problem instanceof TypeError ? "The launcher does not answer." : problem.message, true);
  } finally {
    button.disabled = false;
    await refresh();
  }
}

function removeProject(id, button) {
  return act(button, () => call(`/api/projects/${encodeURIComponent(id)}`, "DELETE"));
}

async function freeName(wanted) {
  const { projects } = await call("/api/projects");
  const taken = new Set(projects.map((project) => project.name));
  let name = wanted;
  for (let number = 2; taken.has(name); number += 1) name = `${wanted} ${number}`;
  return name;
}

byId("create").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  act(form.querySelector("button"), async () => {
    await call("/api/projects", "POST", { name: byId("name").value });
    form.reset();
  });
});

byId("import-demo")?.addEventListener("click", (event) =>
  act(event.target, async () => {
    const import_json = await call("/api/projects/demo-import");
    await call("/api/projects/import", "POST", { name: await freeName("Demo project"), import_json });
  }),
);

refresh();
