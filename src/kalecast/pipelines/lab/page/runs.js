// Shows what /runs and /runs/ID return. Text from runs goes in as text, never as HTML.

const WORDS = {
  PENDING: "Waiting",
  RUNNING: "Running",
  CANCELING: "Stopping",
  CANCELED: "Stopped",
  SUCCEEDED: "Done",
  FAILED: "Failed",
  SKIPPED: "Not run",
};
const AWAITED_MS = 1000; // between looks at what still changes
const IDLE_MS = 5000;
const part = (id) => document.getElementById(id);

// The link's secret leaves the address, and stays where pages of this port alone can read it.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  localStorage.setItem("token", address.searchParams.get("token"));
  history.replaceState(null, "", address.pathname + address.hash);
}
const SECRET = { Authorization: `Bearer ${localStorage.getItem("token")}` };

let shownRun = null; // the id in the address
let chosenStep = ""; // whose log to show; none: the one that runs
let lastAnnounced = "";
let timer = 0;

/* The address: #/runs/details/ID is as that of KFP's own page. */

function follow() {
  const found = location.hash.match(/^#\/runs\/details\/([^/?]+)/);
  shownRun = found ? decodeURIComponent(found[1]) : null;
  chosenStep = lastAnnounced = "";
  part("steps").replaceChildren();
  part("log").textContent = "";
  look(true);
}

async function look(isNew = false) {
  clearTimeout(timer);
  const requested = shownRun;
  let wait = IDLE_MS;
  try {
    const shown = requested === null ? await showList() : await showRun(requested);
    if (requested !== shownRun) return;
    part("lost").hidden = true;
    if (isNew) turnTo(shown.page);
    wait = shown.changes ? AWAITED_MS : IDLE_MS;
  } catch (error) {
    if (requested !== shownRun) return;
    part("lost").hidden = false;
  }
  timer = setTimeout(look, wait);
}

function turnTo(page) {
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== page;
  part(page).querySelector("h1").focus({ preventScroll: true });
}

async function request(path, options) {
  const answer = await fetch(path, { headers: SECRET, ...options });
  if (answer.status === 401 && !options) location.replace("/"); // which says how to come in
  return { ok: answer.ok, status: answer.status, content: await answer.json() };
}

/* The list */

async function showList() {
  const { ok, content } = await request("/runs");
  if (!ok) throw new Error(content.message);
  document.title = "Runs";
  part("none").hidden = content.runs.length > 0;
  keep(part("runs"), content.runs, (run) => run.run_id, makeRunRow, fillRunRow);
  return { page: "list", changes: content.runs.some((run) => isOpen(run.state)) };
}

function makeRunRow(run) {
  const link = make("a", "row");
  link.href = "#/runs/details/" + encodeURIComponent(run.run_id);
  link.append(make("span", "mark"), make("span", "name"), make("span", "time"));
  const row = make("li");
  row.append(link);
  return row;
}

function fillRunRow(row, run) {
  const [mark, name, time] = row.firstChild.children;
  mark.dataset.state = run.state;
  if (!name.firstChild) name.append("", make("small"));
  write(name.firstChild, run.pipeline);
  const why = run.error && run.state === "FAILED" ? `: ${run.error.message.split("\n")[0]}` : "";
  write(name.lastChild, `${moment(run.created_at)} · ${WORDS[run.state]}${place(run)}${why}`);
  write(time, run.seconds === null ? "" : span(run.seconds));
}

/* One run */

async function showRun(id) {
  const path = "/runs/" + encodeURIComponent(id);
  const { ok, status, content } = await request(`${path}?step=${encodeURIComponent(chosenStep)}`);
  if (status === 404) return { page: "missing", changes: false };
  if (!ok) throw new Error(content.message);
  showHead(content);
  showOutcome(content);
  keep(part("steps"), content.steps, (step) => step.name, makeStepRow, (row, step) =>
    fillStepRow(row, step, content, path),
  );
  showLog(content.log);
  showParameters(content);
  announce(content);
  return { page: "run", changes: content.is_open };
}

function showHead(run) {
  document.title = `${WORDS[run.state]} · ${run.pipeline}`;
  write(part("title"), run.pipeline);
  write(part("state"), WORDS[run.state] + place(run));
  part("state").dataset.state = run.state;
  const times = [moment(run.created_at)];
  if (run.seconds !== null) times.push(span(run.seconds));
  if (run.steps.length) times.push(`${countDone(run)} of ${run.steps.length} steps`);
  write(part("times"), times.join(" · "));
  part("progress").dataset.state = run.state;
  part("progress").value = run.steps.length ? countDone(run) / run.steps.length : 0;
  part("stop").hidden = !run.can_stop && run.state !== "CANCELING";
  part("stop").disabled = run.state === "CANCELING";
  write(part("stop"), run.state === "CANCELING" ? "Stopping…" : "Stop");
  write(part("folder"), run.folder);
}

function showOutcome(run) {
  const failed = run.state === "FAILED" ? run.error : null;
  part("error").hidden = !failed;
  if (failed) {
    const where = failed.step ? `${failed.step} failed` : "The run failed";
    write(part("error-title"), `${where}: ${failed.type}`);
    write(part("error-text"), failed.message);
  }
  const scores = Object.entries(run.scores);
  part("result").hidden = !run.model && scores.length === 0;
  part("model-row").hidden = !run.model;
  part("scores").hidden = scores.length === 0;
  write(part("model"), run.model || "");
  for (const node of document.querySelectorAll(".show")) node.hidden = !run.show;
  write(part("show"), run.show || "");
  keep(part("scores").tBodies[0], scores, ([name]) => name, makePair, (row, [name, value]) =>
    fillPair(row, name, Number(value.toPrecision(4)).toString()),
  );
}

function makeStepRow(step) {
  const button = make("button", "row");
  button.type = "button";
  button.append(make("span", "mark"), make("span", "name"), make("span", "time"));
  button.addEventListener("click", () => {
    const running = part("steps").querySelector('[data-state="RUNNING"]');
    chosenStep = running && button.contains(running) ? "" : step.name;
    if (matchMedia("(max-width: 760px)").matches) part("log-title").scrollIntoView();
    look();
  });
  const row = make("li");
  row.append(button);
  return row;
}

function fillStepRow(row, step, run, path) {
  const button = row.firstChild;
  const [mark, name, time] = button.children;
  mark.dataset.state = step.state;
  write(name, step.name);
  write(time, step.seconds === undefined ? "" : span(step.seconds));
  button.setAttribute("aria-label", `${step.name}, ${WORDS[step.state]} ${time.textContent}`);
  button.disabled = step.seconds === undefined;
  button.setAttribute("aria-pressed", String(run.log.step === step.name));
  if (step.has_report && !row.children[1]) {
    const link = make("a", "report");
    link.href = `${path}/reports/${encodeURIComponent(step.name)}`;
    link.target = "_blank";
    link.textContent = "report";
    link.setAttribute("aria-label", `report of ${step.name}`);
    row.append(link);
  }
}

function showLog(log) {
  const box = part("log");
  const wasAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const isOther = box.dataset.step !== log.step;
  box.dataset.step = log.step;
  write(part("log-title"), log.step ? `Log of ${log.step}` : "Log");
  const text = (log.cut ? "…\n" : "") + log.text;
  write(box, text || (log.step ? "Nothing printed so far." : "Nothing has begun."));
  if (wasAtEnd || isOther) box.scrollTop = box.scrollHeight;
}

function showParameters(run) {
  const all = Object.entries(run.parameters);
  keep(part("parameters").tBodies[0], all, ([name]) => name, makePair, (row, [name, value]) => {
    fillPair(row, name, String(value));
    row.toggleAttribute("data-given", run.given.includes(name));
  });
  part("parameters").parentElement.hidden = all.length === 0;
}

function announce(run) {
  const running = run.steps.find((step) => step.state === "RUNNING");
  const state = `${WORDS[run.state]}${running ? ": " + running.name : ""}, ${countDone(run)} of ${run.steps.length} steps`;
  if (state !== lastAnnounced && lastAnnounced) write(part("announcement"), state);
  lastAnnounced = state;
}

part("stop").addEventListener("click", async () => {
  part("stop").disabled = true;
  const path = `/runs/${encodeURIComponent(shownRun)}/stop`;
  const { ok, content } = await request(path, { method: "POST" }).catch(() => ({ ok: true }));
  if (!ok) write(part("announcement"), content.message);
  look();
});

/* Small things */

const isOpen = (state) => ["PENDING", "RUNNING", "CANCELING"].includes(state);
const countDone = (run) => run.steps.filter((step) => step.state === "SUCCEEDED").length;

function place(run) {
  if (run.place === null || run.place === undefined) return "";
  return run.place === 1 ? " for one run before it" : ` for ${run.place} runs before it`;
}

function span(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
}

function moment(timestamp) {
  const date = new Date(timestamp);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return isToday ? `today, ${time}` : `${date.toLocaleDateString()}, ${time}`;
}

function make(tag, name = "") {
  const node = document.createElement(tag);
  if (name) node.className = name;
  return node;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function makePair() {
  const row = make("tr");
  row.append(make("th"), make("td"));
  row.firstChild.scope = "row";
  return row;
}

function fillPair(row, name, value) {
  write(row.firstChild, name);
  write(row.lastChild, value);
}

// Rows that are there already stay: a row that is replaced would lose the keyboard's focus.
function keep(parent, items, keyOf, makeRow, fillRow) {
  const old = new Map([...parent.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const key = keyOf(item);
    const row = old.get(key) ?? makeRow(item);
    old.delete(key);
    row.dataset.key = key;
    fillRow(row, item);
    if (parent.children[index] !== row) parent.insertBefore(row, parent.children[index] ?? null);
  });
  for (const row of old.values()) row.remove();
}

window.addEventListener("hashchange", follow);
follow();
