"use strict";
const PAGE = 24; // images in the list
const TYPICAL = 6; // of a class
const WATCH = 3000; // milliseconds between two looks for decisions of other pages

const element = name => document.getElementById(name);
const key = element("review").dataset.key;
const filters = { kind: element("kind"), given: element("given"), state: element("decided") };
const nameField = element("name");
let facts = null;
let items = [];
let more = false;
let current = 0;
let selected = new Set(); // contents
let busy = false; // while an action runs, other keys are ignored
let actions = 0; // so far

function titleOf(name) {
  const one = facts.classes.find(each => each.name === name);
  return one ? one.title : name;
}

function pictureOf(row, large = false) {
  return `/review/pictures/${row}.png?data=${encodeURIComponent(key)}${large ? "&large=true" : ""}`;
}

async function ask(path, body) {
  const options = {};
  if (body) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify({ key, ...body });
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    say(t("problem.unreachable"));
    return null;
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  say(`${answer.error || response.status} ${answer.hint || ""}`);
  return null;
}

function say(text) {
  element("message").textContent = text;
}

function image(row, alt) {
  const made = document.createElement("img");
  made.src = pictureOf(row);
  made.alt = alt;
  made.loading = "lazy";
  return made;
}

function showProgress() {
  const progress = facts.progress;
  const values = {
    seen: progress.seen.toLocaleString(),
    images: progress.images.toLocaleString(),
    changed: progress.changed.toLocaleString(),
    errors: Math.round(progress.errors).toLocaleString(),
    share: Math.round(100 * progress.caught),
    ahead: progress.ahead.toLocaleString(),
  };
  const texts = [t("review.seen", values)];
  if (progress.errors >= 0.5) texts.push(t("review.errors", values));
  if (progress.errors >= 0.5 && progress.ahead) texts.push(t("review.ahead", values));
  if (progress.errors >= 0.5 && !progress.ahead) texts.push(t("review.enough", values));
  element("progress").textContent = texts.join(" ");
  element("bar").hidden = progress.errors < 0.5;
  element("bar").value = progress.caught;
}

function decisionText(decision) {
  if (decision.action === "relabel") return t("review.did_relabel", { name: titleOf(decision.name) });
  return t(`review.did_${decision.action}`);
}

function evidence(item) {
  const texts = item.kinds.map(kind => t(`review.because_${kind}`));
  const score = Math.round(100 * item.score);
  texts.push(t("review.score", { name: titleOf(item.suggested), score }));
  return texts.join(" ");
}

async function showTypical(place, name) {
  const block = element(place);
  const title = titleOf(name);
  block.querySelector("h2").textContent = t("review.typical", { name: title });
  if (block.dataset.name === name) return;
  block.dataset.name = name;
  const rows = await ask(`/api/review/typical?name=${encodeURIComponent(name)}&limit=${TYPICAL}`);
  if (!rows || block.dataset.name !== name) return;
  const pictures = rows.map(row => image(row, t("review.typical", { name: title })));
  block.querySelector(".row").replaceChildren(...pictures);
}

function showCopies(item) {
  element("copies").hidden = !item.copies.length;
  const entries = item.copies.slice(0, 8).map(copy => {
    const entry = document.createElement("li");
    const text = document.createElement("span");
    const split = copy.split ? `, ${copy.split}` : "";
    text.textContent = `${copy.id} (${titleOf(copy.label)}${split})`;
    if (copy.row === null) entry.append(document.createElement("span"), text);
    else entry.append(image(copy.row, copy.id), text);
    return entry;
  });
  element("copies").querySelector("ul").replaceChildren(...entries);
}

function showOne() {
  const item = items[current];
  element("one").hidden = !item;
  element("empty").hidden = Boolean(item);
  if (!item) return;
  element("which").textContent = t("review.labelled", { name: titleOf(item.given) });
  const picture = element("picture");
  picture.src = pictureOf(item.row, true);
  picture.alt = t("review.labelled", { name: titleOf(item.given) });
  element("file").textContent = item.id;
  element("split").textContent = item.split;
  element("evidence").textContent = evidence(item);
  element("decision").textContent = item.decision ? decisionText(item.decision) : "";
  const others = item.others.map(one => `${one.who}: ${decisionText(one)}`);
  element("others").hidden = !others.length;
  element("others").textContent = others.length ? t("review.conflict", { others: others.join("; ") }) : "";
  const suggested = document.querySelector("[data-action=suggested]");
  suggested.firstElementChild.textContent = t("review.suggested", { name: titleOf(item.suggested) });
  showTypical("as_given", item.given);
  showTypical("as_suggested", item.suggested);
  showCopies(item);
  const next = items[current + 1];
  if (next) new Image().src = pictureOf(next.row, true);
}

function entryOf(item, place) {
  const entry = document.createElement("li");
  const tick = document.createElement("label");
  const box = document.createElement("input");
  const button = document.createElement("button");
  const text = document.createElement("span");
  tick.className = "tick";
  box.type = "checkbox";
  box.checked = selected.has(item.content);
  box.setAttribute("aria-label", t("review.select", { id: item.id }));
  box.addEventListener("change", () => select(item.content, box.checked));
  tick.append(box);
  button.type = "button";
  button.append(image(item.row, ""), text);
  text.textContent = titleOf(item.given);
  if (item.decision) {
    text.className = "done";
    text.textContent += ` → ${decisionText(item.decision)}`;
  }
  if (place === current) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => once(() => goTo(place)));
  entry.append(tick, button);
  return entry;
}

function showQueue() {
  const focused = [...element("strip").children].findIndex(entry => entry.contains(document.activeElement));
  const onBox = document.activeElement.matches("#strip input");
  element("strip").replaceChildren(...items.map(entryOf));
  if (focused >= 0 && element("strip").children[focused]) {
    element("strip").children[focused].querySelector(onBox ? "input" : "button").focus();
  }
  element("queue").hidden = !items.length;
  element("later").disabled = !more;
  element("earlier").disabled = !items.length || items[0].place === 0;
  showSelected();
}

function showSelected() {
  const count = selected.size;
  element("selected").textContent = count ? t("review.selected", { n: count }) : "";
  element("none").hidden = !count;
}

function show() {
  showProgress();
  showOne();
  showQueue();
}

function select(content, chosen) {
  if (chosen) selected.add(content); else selected.delete(content);
  showSelected();
}

function goTo(place) {
  current = Math.max(0, Math.min(place, items.length - 1));
  showOne();
  showQueue();
}

function query(place) {
  const values = { limit: PAGE, ...place };
  for (const [name, field] of Object.entries(filters)) values[name] = field.value;
  return new URLSearchParams(values);
}

async function load(place = {}, last = false) {
  const answer = await ask(`/api/review/items?${query(place)}`);
  if (!answer) return false;
  if (!answer.items.length && "before" in place) return false;
  items = answer.items;
  more = answer.more;
  current = last ? Math.max(0, items.length - 1) : 0;
  selected = new Set();
  return true;
}

async function start() {
  facts = await ask("/api/review");
  if (facts && await load()) show();
}

function lastPlace() {
  return items.length ? Math.max(...items.map(item => item.place)) : -1;
}

// One action at a time: a key never decides about an image that is about to be replaced.
async function once(action) {
  if (busy) return;
  busy = true;
  actions += 1;
  try {
    await action();
  } finally {
    busy = false;
  }
}

async function next() {
  if (current + 1 < items.length) return goTo(current + 1);
  if (more && await load({ after: lastPlace() })) show();
}

async function previous() {
  if (current > 0) return goTo(current - 1);
  if (items.length && items[0].place > 0 && await load({ before: items[0].place }, true)) show();
}

async function later() {
  if (await load({ after: lastPlace() })) show();
}

async function earlier() {
  if (items.length && await load({ before: items[0].place })) show();
}

// The filters are never ignored: they act when the action that runs has ended.
async function loadFiltered() {
  while (busy) await new Promise(resolve => setTimeout(resolve, 20));
  await once(async () => {
    if (await load()) show();
  });
}

async function nextOpen() {
  const open = items.findIndex((item, place) => place > current && !item.decision);
  if (open >= 0) current = open;
  else if (more) await load({ after: lastPlace() });
  else if (filters.state.value === "open") await load();
  show();
}

async function decide(action, name = "") {
  if (!items[current]) return;
  const several = selected.size > 0;
  const contents = several ? [...selected] : [items[current].content];
  const answer = await ask("/api/review/decisions", { contents, action, name });
  if (!answer) return;
  facts = answer;
  for (const item of items) {
    if (!contents.includes(item.content)) continue;
    const kept = action === "keep" || name === item.given;
    const label = kept ? item.given : name;
    item.decision = { action: kept ? "keep" : action, name: label, who: facts.who };
  }
  selected = new Set();
  const done = decisionText({ action, name });
  say(several ? t("review.together", { n: contents.length, done }) : done);
  await nextOpen();
}

async function undo() {
  const undone = await ask("/api/review/undo", {});
  const answer = undone && await ask("/api/review");
  if (!answer) return;
  facts = answer;
  if (!undone.length) return say(t("review.nothing_undone"));
  for (const item of undone) {
    const place = items.findIndex(each => each.content === item.content);
    if (place >= 0) items[place] = { ...item, place: items[place].place };
    else items.splice(current, 0, item);
  }
  current = items.findIndex(each => each.content === undone[0].content);
  say(t("review.undone", { n: undone.length }));
  show();
}

function relabel(text) {
  const typed = text.trim().toLowerCase();
  if (!typed) return;
  const exact = facts.classes.filter(one => one.title.toLowerCase() === typed || one.name.toLowerCase() === typed);
  const begins = facts.classes.filter(one => one.title.toLowerCase().startsWith(typed));
  const matches = exact.length ? exact : begins;
  if (matches.length !== 1) return say(t("review.which", { n: matches.length, text }));
  once(() => {
    nameField.value = "";
    nameField.blur();
    return decide("relabel", matches[0].name);
  });
}

const ACTIONS = {
  keep: () => decide("keep"),
  suggested: () => items[current] && decide("relabel", items[current].suggested),
  exclude: () => decide("exclude"),
  untold: () => decide("untold"),
  undo,
};
const KEYS = {
  k: ACTIONS.keep, s: ACTIONS.suggested, x: ACTIONS.exclude, t: ACTIONS.untold, u: undo,
  n: next, p: previous, arrowright: next, arrowleft: previous,
  "/": () => nameField.focus(),
  m: () => {
    const content = items[current] && items[current].content;
    if (!content) return;
    select(content, !selected.has(content));
    showQueue();
  },
  escape: clearSelection,
};

function clearSelection() {
  selected = new Set();
  showQueue();
}

function pressed(event) {
  if (event.target === nameField && event.key === "Escape") return nameField.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || !element("keys").checked) return;
  if (event.target.matches("select, input:not([type=checkbox]), textarea")) return;
  const one = facts && facts.classes.find(each => each.key && each.key === event.key);
  const action = one ? () => decide("relabel", one.name) : KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  once(action);
}

// Decisions of other pages and programs: what is shown here is brought up to date.
async function watch() {
  if (document.hidden || busy || !facts) return;
  const before = actions;
  const answer = await fetch("/api/review").then(response => response.json()).catch(() => null);
  if (!answer || !answer.version || actions !== before || answer.version === facts.version) return;
  if (answer.key !== key) return location.reload();
  const places = items.map(item => item.place).filter(place => place >= 0);
  if (places.length) {
    const first = { after: Math.min(...places) - 1, limit: 100 };
    const asked = query(first);
    asked.set("state", "all");
    const fresh = await ask(`/api/review/items?${asked}`);
    if (actions !== before) return; // the next look brings it up to date
    const byContent = new Map((fresh ? fresh.items : []).map(item => [item.content, item]));
    items = items.map(item => byContent.get(item.content) || item);
  }
  facts = answer;
  show();
}

document.addEventListener("keydown", pressed);
for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", () => once(ACTIONS[button.dataset.action]));
}
for (const button of document.querySelectorAll("[data-name]")) {
  button.addEventListener("click", () => once(() => decide("relabel", button.dataset.name)));
}
element("relabel").addEventListener("submit", event => {
  event.preventDefault();
  relabel(nameField.value);
});
// Whoever chose by pointer goes on with single keys; whoever chose by keys stays in the field.
let pointed = false;
element("filters").addEventListener("pointerdown", () => { pointed = true; });
element("filters").addEventListener("keydown", () => { pointed = false; });
element("filters").addEventListener("change", async () => {
  if (pointed) document.activeElement.blur();
  await loadFiltered();
});
element("filters").addEventListener("submit", event => event.preventDefault());
element("later").addEventListener("click", () => once(later));
element("earlier").addEventListener("click", () => once(earlier));
element("every").addEventListener("click", () => {
  selected = new Set(items.map(item => item.content));
  showQueue();
});
element("none").addEventListener("click", clearSelection);
element("picture").addEventListener("load", event => {
  event.target.classList.toggle("tiny", event.target.naturalWidth < 128);
});
setInterval(watch, WATCH);
document.addEventListener("visibilitychange", watch);
start();
