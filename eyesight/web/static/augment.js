"use strict";
const form = document.getElementById("settings"), samples = document.getElementById("samples"), state = document.getElementById("status"), line = document.getElementById("line");
const sliders = [...form.querySelectorAll("input[type=range]")], flip = document.getElementById("flip"), copy = document.getElementById("copy");
let waiting = 0, asking = null;

function figure(one) {
  const made = document.createElement("figure"), picture = document.createElement("img"), caption = document.createElement("figcaption");
  picture.src = one.picture;
  picture.alt = caption.textContent = one.label;
  made.append(picture, caption);
  return made;
}

function row(shown) {
  const made = document.createElement("div");
  made.className = "row";
  made.append(...shown.map(figure));
  return made;
}

function show(found) {
  document.getElementById("before").replaceChildren(...found.before.map(figure));
  document.getElementById("trials").replaceChildren(...found.trials.map(row));
  line.textContent = found.line || t("augment.nothing");
  copy.hidden = !found.line;
  state.textContent = found.source ? t("augment.source", { source: found.source }) : t("augment.drawn");
}

async function redraw() {
  if (asking) asking.abort();
  const mine = asking = new AbortController();
  samples.setAttribute("aria-busy", "true");
  if (!document.querySelector("#before img")) state.textContent = t("augment.first");
  try {
    const query = new URLSearchParams(new FormData(form)).toString();
    const response = await fetch(`/api/augment?${query}`, { signal: mine.signal });
    if (response.status === 503) return later(1000);
    const found = await response.json();
    if (response.ok) show(found); else state.textContent = found.error;
    history.replaceState(null, "", `?${query}`);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    state.textContent = t("problem.unreachable");
  }
  if (mine === asking) samples.setAttribute("aria-busy", "false");
}

function later(pause) {
  clearTimeout(waiting);
  waiting = setTimeout(redraw, pause);
}

function moved() {
  for (const slider of sliders) slider.nextElementSibling.textContent = slider.value;
  later(150);
}

document.getElementById("again").addEventListener("click", () => { form.elements.draw.value = (Number(form.elements.draw.value) + 1) % 1000000; redraw(); });
for (const preset of document.querySelectorAll(".preset")) {
  preset.addEventListener("click", () => {
    for (const [name, value] of Object.entries(JSON.parse(preset.dataset.values))) form.elements[name].value = value;
    moved();
  });
}
copy.addEventListener("click", async () => {
  try { await navigator.clipboard.writeText(line.textContent); state.textContent = t("augment.copied"); } catch { getSelection().selectAllChildren(line); }
});
form.addEventListener("submit", event => { event.preventDefault(); redraw(); });
form.addEventListener("input", moved);
document.getElementById("again").hidden = document.querySelector(".presets").hidden = false;
moved();
