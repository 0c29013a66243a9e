"use strict";
const input = document.getElementById("picture"), photo = document.getElementById("photo"), drop = document.querySelector(".drop");
const answer = document.getElementById("answer"), shown = document.getElementById("shown"), preview = document.getElementById("preview");
let latest = 0, given = null;

function line(text, kind) {
  const paragraph = document.createElement("p");
  paragraph.textContent = text;
  if (kind) paragraph.className = kind;
  return paragraph;
}

function readable(name) {
  return name.replace(/^n\d{8}-/, "").replace(/_/g, " ");
}

function percent(share) {
  return (100 * share).toFixed(1) + " %";
}

function refused(response, said) {
  const known = "problem." + response.status;
  answer.replaceChildren(line(known in TEXTS ? t(known) : [said.error, said.hint].filter(Boolean).join(": "), "warn"));
}

function sent(path) {
  return fetch(path, { method: "POST", body: given, headers: { "Content-Type": given.type || "application/octet-stream" } });
}

function take(file) {
  given = file;
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  shown.hidden = false;
  answer.replaceChildren(line(t("front.looking"), "faint"));
  return ++latest;
}

for (const one of [input, photo]) one.addEventListener("change", () => { if (one.files[0]) recognise(one.files[0]); });
document.getElementById("camera").hidden = !matchMedia("(pointer: coarse)").matches;
document.addEventListener("paste", event => { const file = event.clipboardData.files[0]; if (file) recognise(file); });
document.addEventListener("dragover", event => { event.preventDefault(); drop.classList.add("over"); });
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", event => { event.preventDefault(); drop.classList.remove("over"); const file = event.dataTransfer.files[0]; if (file) recognise(file); });
