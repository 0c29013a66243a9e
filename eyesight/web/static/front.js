"use strict";
const actions = document.getElementById("actions"), places = document.getElementById("places");
let found = null;

function bar(named) {
  const row = document.createElement("div"), name = document.createElement("span"), meter = document.createElement("meter"), share = document.createElement("span");
  row.className = "bar";
  name.textContent = readable(named.class);
  meter.value = named.probability;
  meter.setAttribute("aria-hidden", "true");
  share.textContent = percent(named.probability);
  row.append(name, meter, share);
  return row;
}

// The rows that say something: of a narrowed network also how sure it is that this is another thing.
function rows() {
  const other = found.other === null ? [] : [{ class: t("front.other"), probability: found.other }];
  const all = [...found.top, ...other].sort((a, b) => b.probability - a.probability);
  return all.filter((one, place) => place === 0 || one.probability >= 0.0005);
}

function nothing() {
  const dogs = document.querySelector("main h1").dataset.about === "dogs";
  if (found.other > 0.5) return t(dogs ? "front.not_dog" : "front.not_kind");
  return nothingKnown(found);
}

function doubt() {
  if (found.other > 0.5 || !found.doubt) return [];
  return [doubtOf(found, readable)];
}

function showAnswer() {
  const name = nothing() || readable(found.top[0].class);
  const bars = rows().map(bar);
  const list = nothing() && !(found.other > 0.5) ? [closest(bars)] : bars;
  answer.replaceChildren(line(name, "name"), ...doubt().map(text => line(text, "sure warn")), ...list);
  actions.hidden = false;
}

async function recognise(file) {
  const mine = take(file);
  places.hidden = true;
  if (!watching()) {
    found = null;
    actions.hidden = true;
  }
  try {
    const response = await sent("/api/predict"), said = await response.json();
    if (mine !== latest) return;
    if (!response.ok) return refused(response, said);
    found = said;
    showAnswer();
    if (!watching()) beep();
  } catch {
    if (mine === latest) answer.replaceChildren(line(t("problem.unreachable"), "warn"));
  }
}

async function look() {
  stopWatching();
  const mine = latest, picture = places.querySelector("img");
  try {
    const response = await sent("/api/explain");
    if (mine !== latest) return;
    if (!response.ok) return refused(response, await response.json());
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(await response.blob());
    places.hidden = false;
  } catch {
    if (mine === latest) answer.append(line(t("problem.unreachable"), "warn"));
  }
}

function written() {
  const longer = Math.max(preview.naturalWidth, preview.naturalHeight), scale = Math.min(Math.max(longer, 320), 1600) / longer;
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  canvas.width = Math.round(scale * preview.naturalWidth);
  canvas.height = Math.round(scale * preview.naturalHeight);
  pen.drawImage(preview, 0, 0, canvas.width, canvas.height);
  const lines = [...[nothing(), ...doubt()].filter(Boolean).map(text => [text, 0]), ...rows().map(one => [`${readable(one.class)}  ${percent(one.probability)}`, one.probability])];
  let size = Math.max(12, Math.round(Math.min(canvas.width, canvas.height) / 20));
  pen.font = `${size}px system-ui, sans-serif`;
  let wide = Math.max(...lines.map(([text]) => pen.measureText(text).width)) + size;
  if (wide > canvas.width) {
    size *= canvas.width / wide;
    pen.font = `${size}px system-ui, sans-serif`;
    wide = canvas.width;
  }
  const high = 1.4 * size;
  pen.fillStyle = "rgb(0 0 0 / 60%)";
  pen.fillRect(0, 0, wide, high * (lines.length + .4));
  pen.textBaseline = "middle";
  lines.forEach(([text, share], row) => {
    pen.fillStyle = "rgb(40 120 190 / 75%)";
    pen.fillRect(0, high * (row + .2), wide * share, high - 2);
    pen.fillStyle = "#fff";
    pen.fillText(text, size / 2, high * (row + .7));
  });
  return canvas;
}

async function download() {
  stopWatching();
  await preview.decode().catch(() => null);
  written().toBlob(blob => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = (given.name || "image").replace(/\.\w+$/, "") + ".named.jpg";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/jpeg", .92);
}

for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", async () => {
    const picture = await (await fetch(example.querySelector("img").src)).blob();
    pick(new File([picture], "example.png", { type: picture.type }));
  });
}
document.getElementById("examples")?.removeAttribute("hidden");
document.getElementById("copy").addEventListener("click", download);
document.getElementById("look")?.addEventListener("click", look);
preview.addEventListener("error", () => { document.getElementById("copy").hidden = true; });
preview.addEventListener("load", () => { document.getElementById("copy").hidden = false; });
