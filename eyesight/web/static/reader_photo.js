"use strict";
const sheet = document.getElementById("sheet"), shownPhoto = sheet.querySelector("img"), readLine = document.getElementById("read"), foundCards = document.getElementById("found");
const frames = sheet.querySelector("svg"), oneFrame = frames.querySelector("rect");
let latestPhoto = 0, cards = [];

function frame(found) {
  frames.setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
  const edge = (place, kind) => {
    const made = oneFrame.cloneNode();
    for (const side of ["x", "y", "width", "height"]) made.setAttribute(side, place[side]);
    made.setAttribute("class", kind);
    return made;
  };
  const digits = found.digits.map(digit => edge(digit, digit.sure ? "" : "doubt"));
  frames.replaceChildren(...digits, ...found.left_out.map(place => edge(place, "left")));
}

function answer(found) {
  if (!found.code) return [t("reader.none")];
  const lines = [t("reader.code") + " ", element("b", "", found.code)];
  if (found.doubtful) lines.push(element("p", "warn", t("reader.doubtful")));
  if (found.left_out.length) lines.push(element("p", "", t("reader.left_out", { n: found.left_out.length })));
  return lines;
}

async function readPhoto(file) {
  const mine = ++latestPhoto;
  if (shownPhoto.src) URL.revokeObjectURL(shownPhoto.src);
  shownPhoto.src = URL.createObjectURL(file);
  sheet.hidden = false;
  frames.replaceChildren();
  foundCards.replaceChildren();
  readLine.textContent = t("reader.reading");
  try {
    const expected = document.getElementById("expected");
    const digits = expected.value && expected.validity.valid ? `?digits=${expected.value}` : "";
    const found = await ask(`/api/reader/code${digits}`, file);
    if (mine !== latestPhoto) return;
    frame(found);
    cards = found.digits.map(digit => { const card = new Card(); card.show(digit); return card; });
    foundCards.replaceChildren(...cards.map(card => card.root));
    readLine.replaceChildren(...answer(found));
    beep();
  } catch (problem) { if (mine === latestPhoto) readLine.textContent = problem.message; }
}

for (const id of ["photo", "shot"]) document.getElementById(id).addEventListener("change", event => { if (event.target.files[0]) readPhoto(event.target.files[0]); });
if (matchMedia("(pointer: coarse)").matches) document.getElementById("camera").hidden = false;
const dropPlace = document.querySelector(".drop");
document.addEventListener("see", () => cards.forEach(card => card.look()));
document.addEventListener("paste", event => { const file = event.clipboardData.files[0]; if (file && !desk.hidden) readPhoto(file); });
document.addEventListener("dragover", event => { event.preventDefault(); dropPlace.classList.add("over"); });
document.addEventListener("dragleave", () => dropPlace.classList.remove("over"));
document.addEventListener("drop", event => { event.preventDefault(); dropPlace.classList.remove("over"); const file = event.dataTransfer.files[0]; if (file && !desk.hidden) readPhoto(file); });
