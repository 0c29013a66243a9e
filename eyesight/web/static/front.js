"use strict";
const input = document.getElementById("picture"), drop = document.querySelector(".drop"), answer = document.getElementById("answer");
const shown = document.getElementById("shown"), preview = document.getElementById("preview");
let latest = 0;

function line(text, kind) {
  const paragraph = document.createElement("p");
  paragraph.textContent = text;
  if (kind) paragraph.className = kind;
  return paragraph;
}

function bar(named) {
  const row = document.createElement("div"), name = document.createElement("span"), meter = document.createElement("meter"), share = document.createElement("span");
  row.className = "bar";
  name.textContent = named.class;
  meter.value = named.probability;
  share.textContent = (100 * named.probability).toFixed(1) + " %";
  row.append(name, meter, share);
  return row;
}

function show(found) {
  const doubt = found.sure === false ? [line(t("front.doubt"), "warn")] : [];
  answer.replaceChildren(...doubt, ...found.top.map(bar));
}

async function recognise(file) {
  const mine = ++latest;
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  shown.hidden = false;
  answer.replaceChildren(line(t("front.looking"), "faint"));
  try {
    const response = await fetch("/api/predict", { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } });
    const found = await response.json();
    if (mine !== latest) return;
    if (response.ok) show(found); else answer.replaceChildren(line([found.error, found.hint].filter(Boolean).join(": "), "warn"));
  } catch {
    if (mine === latest) answer.replaceChildren(line(t("problem.unreachable"), "warn"));
  }
}

input.addEventListener("change", () => { if (input.files[0]) recognise(input.files[0]); });
document.addEventListener("paste", event => { const file = event.clipboardData.files[0]; if (file) recognise(file); });
document.addEventListener("dragover", event => { event.preventDefault(); drop.classList.add("over"); });
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", event => { event.preventDefault(); drop.classList.remove("over"); const file = event.dataTransfer.files[0]; if (file) recognise(file); });
