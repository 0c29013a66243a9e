"use strict";
function valueOf(cell) {
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
}

function sortable(table) {
  table.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.tabIndex = 0;
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (up ? 1 : -1) * compare(valueOf(a.cells[column]), valueOf(b.cells[column])));
      table.tBodies[0].append(...rows);
    });
  });
}

function epoch(place, found) {
  const status = document.querySelector("main .status"), row = place.tagName === "TR" ? place : null;
  (row ? row.querySelector(".status") : status).textContent = `${t("status.running")} ${Math.round(100 * (found.progress || 0))} %`;
  if (row) row.querySelector(".epochs").textContent = found.epoch;
  if (row && found.validation_top1 != null) row.querySelector(".accuracy").textContent = `(${(100 * found.validation_top1).toFixed(2)} %)`;
  if (!row) redraw(found.epoch);
}

let waiting = 0;
function redraw(number) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    document.getElementById("curves").hidden = false;
    for (const picture of document.querySelectorAll("img.live")) picture.src = `${picture.dataset.source}?epoch=${number}`;
  }, 300);
}

function follow(place) {
  const stream = new EventSource(`/api/runs/${encodeURIComponent(place.dataset.run)}/events`);
  stream.onmessage = message => { const found = JSON.parse(message.data); if (found.event === "epoch") epoch(place, found); };
  stream.addEventListener("end", () => { stream.close(); location.reload(); });
  stream.addEventListener("gone", () => { stream.close(); const status = (place.tagName === "TR" ? place : document).querySelector(".status"); if (status) status.textContent = t("runs.removed"); });
}

function together() {
  const place = document.getElementById("together"), most = Number(place.dataset.most), boxes = [...document.querySelectorAll(".tick input")];
  const chosen = boxes.filter(box => box.checked).map(box => ["run", box.value]);
  for (const box of boxes) {
    box.disabled = !box.checked && chosen.length >= most;
    box.closest("td").dataset.value = box.checked ? 1 : 0;
  }
  const query = new URLSearchParams(chosen).toString();
  place.hidden = !chosen.length;
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
  for (const picture of place.querySelectorAll("img")) if (query) picture.src = `${picture.dataset.source}?${query}`;
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".tick input").forEach(box => box.addEventListener("change", together));
[...document.querySelectorAll("[data-status=running]")].slice(0, 4).forEach(follow);
