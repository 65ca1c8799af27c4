"use strict";
// The launcher's page: shows projects and models, asks again each second. Text from outside is only ever text.

const POLL_MS = 1000;
const STATES = { setting_up: "Setting up", ready: "Ready", failed: "Failed", stopped: "Not running" };
const WHAT = { environment: "Python environment", comfyui: "ComfyUI", node: "Node", model: "Model", workflow: "Workflow" };
const PART_STATES = {
  waiting: ["○", "waiting"],
  running: ["▶", "under way"],
  done: ["✓", "done"],
  left_out: ["–", "left out"],
  failed: ["!", "missing"],
  blocked: ["!", "waits for what is missing"],
};

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
  const bar = element("div", "bar");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-valuemin", "0");
  bar.setAttribute("aria-valuemax", "100");
  bar.append(element("div", "fill"));
  const progress = element("div", "progress");
  progress.append(bar, element("span", "percent"));
  const missing = element("div", "missing");
  missing.append(document.createElement("ul"));
  const recovery = document.querySelector("nav a");
  if (recovery) {
    const help = element("a", "help", "What you can do about it");
    help.href = recovery.href;
    missing.append(help);
  }
  const parts = element("details", "parts");
  parts.append(document.createElement("summary"), document.createElement("ul"));
  const foot = element("div", "card-foot");
  const buttons = element("div", "buttons");
  const again = makeButton("again", "Try again", (button) => tryAgain(id, button));
  buttons.append(again, makeButton("delete", "Delete", (button) => removeProject(id, button)));
  foot.append(element("span", "id", `ID: ${id}`), buttons);
  card.append(head, element("p", "status"), progress, missing, parts, foot);
  row.append(card);
  return row;
}

function makeButton(className, text, work) {
  const button = element("button", className, text);
  button.type = "button";
  button.addEventListener("click", () => work(button));
  return button;
}

const listOf = (value) => (Array.isArray(value) ? value.filter((one) => one && typeof one === "object") : []);

/** A part in words: nodes and models have names of their own, of the others a project has just one. */
function partName({ what, name }) {
  const label = WHAT[what] ?? String(what ?? "");
  return what === "node" || what === "model" || !(what in WHAT) ? `${label} ${name ?? ""}`.trim() : label;
}

/** Fill a list with what `make` makes of each item, unless it has just that already. */
function fillList(list, items, make) {
  const shown = JSON.stringify(items);
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.replaceChildren(...items.map(make));
}

function makePart(part) {
  const [sign, words] = PART_STATES[part.state] ?? ["○", String(part.state ?? "")];
  const item = element("li", `part ${part.state in PART_STATES ? part.state : ""}`);
  const mark = element("span", "mark", sign);
  mark.setAttribute("aria-hidden", "true");
  item.append(mark, element("span", "part-name", partName(part)), element("span", "part-state", words));
  return item;
}

function makeMissing(part) {
  const item = document.createElement("li");
  item.append(element("strong", "part-name", partName(part)));
  const reason = String(part.reason ?? "");
  if (reason) item.append(`: ${reason.charAt(0).toUpperCase()}${reason.slice(1)}${/[.!?]$/.test(reason) ? "" : "."}`);
  return item;
}

/** How a project is, with what a plugin tells of it: how far it is, its parts, and what is missing. */
function fillDetails(row, project, state) {
  const details = project.details ?? {};
  const find = (selector) => row.querySelector(selector);
  const percent = Math.floor(Math.min(100, Math.max(0, Number(details.progress))));
  const known = state === "setting_up" && typeof details.progress === "number" && Number.isFinite(percent);
  find(".progress").hidden = !known;
  if (known) {
    find(".bar").setAttribute("aria-label", `Progress of ${project.name}`);
    find(".bar").setAttribute("aria-valuenow", String(percent));
    find(".fill").style.width = `${percent}%`;
    if (find(".percent").textContent !== `${percent}%`) find(".percent").textContent = `${percent}%`;
  }
  const parts = listOf(details.parts);
  const missing = state === "failed" ? listOf(details.missing) : [];
  find(".missing").hidden = missing.length === 0;
  // The list below says the rest of a long message.
  const all = parts.length === 1 ? "1 part" : `${parts.length} parts`;
  const are = `${missing.length} of ${all} ${missing.length === 1 ? "is" : "are"} missing:`;
  const status = missing.length && parts.length ? `Not ready: ${are}` : project.status_message;
  if (find(".status").textContent !== status) find(".status").textContent = status;
  fillList(find(".missing ul"), missing, makeMissing);
  find(".parts").hidden = parts.length === 0;
  const done = parts.filter((part) => part.state === "done").length;
  const summary = `${done} of ${all} done`;
  if (find("summary").textContent !== summary) find("summary").textContent = summary;
  fillList(find(".parts ul"), parts, makePart);
  // Open while there is something to watch, until the person decides otherwise.
  if (row.dataset.shownState !== state) find(".parts").open = state === "setting_up";
  row.dataset.shownState = state;
}

function fillCard(row, project) {
  const put = (selector, text) => {
    const target = row.querySelector(selector);
    if (target.textContent !== text) target.textContent = text;
  };
  const state = shownState(project);
  put(".name", project.name);
  fillDetails(row, project, state);
  put(".pill", STATES[state] ?? state);
  row.querySelector(".pill").className = `pill ${state in STATES ? state : ""}`;
  const again = row.querySelector(".again");
  again.hidden = state !== "failed" && state !== "stopped";
  again.setAttribute("aria-label", `Try ${project.name} again`);
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

function tryAgain(id, button) {
  return act(button, () => call(`/api/projects/${encodeURIComponent(id)}/retry`, "POST", {}));
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
