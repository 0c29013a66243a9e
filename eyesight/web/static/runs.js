"use strict";
const REFRESH = 5000; // milliseconds between two looks for new runs

function valueOf(cell) {
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
}

function makeSortable(table) {
  const heads = table.querySelectorAll("th");
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") === "descending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      const sign = ascending ? 1 : -1;
      rows.sort((a, b) => sign * compare(valueOf(a.cells[column]), valueOf(b.cells[column])));
      table.tBodies[0].append(...rows);
    });
  });
}

function showEpoch(place, event) {
  const percent = Math.round(100 * (event.progress || 0));
  const status = `${t("status.running")} ${percent} %`;
  if (place.tagName !== "TR") {
    document.querySelector("main .status").textContent = status;
    redrawCurves(event.epoch);
    return;
  }
  place.querySelector(".status").textContent = status;
  place.querySelector(".epochs").textContent = event.epoch;
  if (event.validation_top1 != null) {
    const score = (100 * event.validation_top1).toFixed(2);
    place.querySelector(".score").textContent = `(${score} %)`;
  }
}

let redrawTimer = 0;
function redrawCurves(epoch) {
  clearTimeout(redrawTimer);
  redrawTimer = setTimeout(() => {
    document.getElementById("curves").hidden = false;
    for (const image of document.querySelectorAll("img.live")) {
      image.src = `${image.dataset.source}?epoch=${epoch}`;
    }
  }, 300);
}

const streams = new Map();
function follow(place) {
  const run = place.dataset.run;
  if (streams.has(run)) return;
  const stream = new EventSource(`/api/runs/${encodeURIComponent(run)}/events`);
  streams.set(run, stream);
  const current = () => document.querySelector(`[data-run="${CSS.escape(run)}"]`);
  const close = () => { stream.close(); streams.delete(run); };
  stream.onmessage = message => {
    const event = JSON.parse(message.data);
    if (event.event === "epoch" && current()) showEpoch(current(), event);
  };
  stream.addEventListener("end", () => {
    close();
    if (place.tagName === "TR") refresh(); else location.reload();
  });
  stream.addEventListener("gone", () => {
    close();
    const shown = current();
    const scope = shown && shown.tagName === "TR" ? shown : document;
    const status = scope.querySelector(".status");
    if (status) status.textContent = t("runs.removed");
  });
}

function followRunning() {
  const selector = "[data-status=running], [data-status=preparing]";
  [...document.querySelectorAll(selector)].slice(0, 4).forEach(follow);
}

function chosenRuns() {
  return [...document.querySelectorAll(".tick input:checked")].map(box => box.value);
}

function limitChoice() {
  const most = Number(document.getElementById("together").dataset.most);
  const full = chosenRuns().length >= most;
  for (const box of document.querySelectorAll(".tick input")) box.disabled = !box.checked && full;
}

function drawTogether() {
  const place = document.getElementById("together");
  const chosen = chosenRuns();
  limitChoice();
  place.hidden = !chosen.length;
  const address = new URLSearchParams(location.search);
  address.delete("run");
  for (const run of chosen) address.append("run", run);
  history.replaceState(null, "", address.size ? `?${address}` : location.pathname);
  if (!chosen.length) return;
  const query = new URLSearchParams(chosen.map(run => ["run", run]));
  for (const image of place.querySelectorAll("img")) image.src = `${image.dataset.source}?${query}`;
}

// Runs that begin or end while the page is open: the rows are asked for again, ticks and focus stay.
async function refresh() {
  const rows = document.getElementById("rows");
  if (!rows || document.hidden || rows.contains(document.activeElement)) return;
  const response = await fetch(location.href).catch(() => null);
  if (!response || !response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById("rows");
  if (!fresh) return;
  const chosen = new Set(chosenRuns());
  rows.replaceChildren(...fresh.childNodes);
  for (const box of rows.querySelectorAll(".tick input")) box.checked = chosen.has(box.value);
  limitChoice();
  followRunning();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
const rows = document.getElementById("rows");
if (rows) {
  rows.addEventListener("change", drawTogether);
  setInterval(refresh, REFRESH);
}
followRunning();
