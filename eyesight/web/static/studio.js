"use strict";
// What every page of the studio shares: asking the server, short messages, the state of a project.
const here = document.querySelector("main").dataset.here;
const toast = document.getElementById("toast");
const watchers = [];
let state = JSON.parse(document.getElementById("state")?.textContent || "null");
let toastTimer = 0;
let asked = 0; // requests for the state
let answered = 0; // the newest of them that was answered

function say(text) {
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.hidden = true; }, 6000);
}

// A long name is broken after "_" rather than within a word.
function breakable(text) {
  const parts = text.match(/[^_]*_+(?=[^_])|[^]+/g) || [];
  return parts.flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part]));
}

function element(kind, text, name) {
  const made = document.createElement(kind);
  if (text) made.append(...breakable(text));
  if (name) made.className = name;
  return made;
}

function pictures(n) {
  return n === 1 ? t("studio.one_picture") : t("studio.n_pictures", { n: n.toLocaleString() });
}

class Refusal extends Error {
  constructor(status, body) {
    super([body.error, body.hint].filter(Boolean).join("; "));
    this.status = status;
    this.reason = body.error || "";
  }
}

async function answerOf(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, body);
  return body;
}

async function ask(path) {
  return answerOf(await fetch(here + path));
}

async function tell(path, values = {}) {
  const headers = { "Content-Type": "application/json" };
  return answerOf(await fetch(here + path, { method: "POST", headers, body: JSON.stringify(values) }));
}

function explain(error) {
  if (!(error instanceof Refusal)) return t("problem.unreachable");
  const key = "problem." + error.status;
  if ([400, 408, 413, 415, 503, 504].includes(error.status) && key in TEXTS) return t(key);
  return document.documentElement.lang === "en" ? error.message : `${t("problem.program")} ${error.message}`;
}

// What the program itself says is English, whatever the language of the page.
function told(text) {
  if (!text) return [];
  const own = element("span", text);
  own.lang = "en";
  return [`${t("problem.program")} `, own];
}

async function trying(work, place) {
  if (place) place.hidden = true;
  try {
    return await work();
  } catch (error) {
    if (place) {
      place.textContent = explain(error);
      place.hidden = false;
    } else {
      say(explain(error));
    }
    return null;
  }
}

// Two tabs agree because each of them asks for the same state.
// An answer that a later one has overtaken is passed over: it may lack what was just added.
async function refresh() {
  const mine = ++asked;
  const fresh = await ask("/state").catch(() => null);
  if (!fresh || mine < answered) return;
  answered = mine;
  const before = state;
  state = fresh;
  for (const watcher of watchers) watcher(fresh, before);
}

function follow(watcher, seconds = 1.5) {
  watchers.push(watcher);
  watcher(state, state);
  if (watchers.length > 1) return;
  const next = async () => {
    if (!document.hidden) await refresh();
    setTimeout(next, 1000 * seconds);
  };
  setTimeout(next, 1000 * seconds);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
}

// Files and folders that were dropped, as {file, folder}; entries must be taken before any waiting.
async function dropped(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files];
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found.length ? found : files.map(file => ({ file, folder: "" }));
}

async function walk(entry, folder, found) {
  if (entry.name.startsWith(".")) return;
  if (entry.isFile) {
    found.push({ file: await new Promise((done, failed) => entry.file(done, failed)), folder });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const part = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!part.length) return;
    for (const inner of part) await walk(inner, entry.name, found);
  }
}

function onDrop(place, take) {
  place.addEventListener("dragover", event => {
    event.preventDefault();
    event.stopPropagation();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", event => {
    if (!place.contains(event.relatedTarget)) place.classList.remove("over");
  });
  place.addEventListener("drop", async event => {
    event.preventDefault();
    event.stopPropagation();
    place.classList.remove("over");
    take(await dropped(event.dataTransfer));
  });
}

document.addEventListener("dragover", event => event.preventDefault());
document.addEventListener("drop", event => event.preventDefault());
