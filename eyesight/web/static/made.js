"use strict";
const figure = document.getElementById("made");

function swatch(colour) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg"), square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  picture.setAttribute("class", "swatch");
  square.setAttribute("width", "100%");
  square.setAttribute("height", "100%");
  square.setAttribute("fill", colour);
  square.setAttribute("stroke", colour);
  picture.append(square);
  return picture;
}

function share(one) {
  const row = document.createElement("div"), name = document.createElement("span"), meter = document.createElement("meter"), part = document.createElement("span");
  row.className = "bar";
  name.append(swatch(one.colour), readable(one.class));
  meter.value = one.share;
  meter.setAttribute("aria-hidden", "true");
  part.textContent = percent(one.share);
  row.append(name, meter, part);
  return row;
}

function lines(said) {
  if (said.target === "mask") return said.shares.map(share);
  const facts = [line(t("made.error", { error: said.anomaly.toFixed(4) }))];
  if (said.usual !== null) facts.push(line(t("made.usual", { usual: said.usual.toFixed(4) }), "faint"));
  if (said.unfamiliar !== null) facts.unshift(line(t(said.unfamiliar ? "made.strange" : "made.familiar"), said.unfamiliar ? "warn" : ""));
  return facts;
}

async function recognise(file) {
  const mine = take(file);
  if (!watching()) figure.hidden = true;
  try {
    const response = await sent("/api/render"), said = await response.json();
    if (mine !== latest) return;
    if (!response.ok) return refused(response, said);
    figure.querySelector("img").src = "data:image/png;base64," + said.picture;
    figure.hidden = false;
    answer.replaceChildren(...lines(said));
  } catch {
    if (mine === latest) answer.replaceChildren(line(t("problem.unreachable"), "warn"));
  }
}
