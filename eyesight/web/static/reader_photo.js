"use strict";
const sheet = document.getElementById("sheet"), shownPhoto = sheet.querySelector("img"), readLine = document.getElementById("read"), foundCards = document.getElementById("found");
const frames = sheet.querySelector("svg"), oneFrame = frames.querySelector("rect");
let latestPhoto = 0, cards = [];

function frame(found) {
  frames.setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
  frames.replaceChildren(...found.digits.map(digit => {
    const edge = oneFrame.cloneNode();
    for (const side of ["x", "y", "width", "height"]) edge.setAttribute(side, digit[side]);
    if (!digit.sure) edge.setAttribute("class", "doubt");
    return edge;
  }));
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
    const found = await ask("/api/reader/code", file);
    if (mine !== latestPhoto) return;
    frame(found);
    cards = found.digits.map(digit => { const card = new Card(); card.show(digit); return card; });
    foundCards.replaceChildren(...cards.map(card => card.root));
    readLine.replaceChildren(...found.code ? [t("reader.code") + " ", element("b", "", found.code)] : [t("reader.none")]);
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
