"use strict";
// The words of the page, and an answer as a person reads it.

const MOST_BARS = 5;
const NAMED = 3; // kinds that a sentence names
let language = (navigator.language || "en").toLowerCase().startsWith("ko") ? "ko" : "en";

function t(key, values = {}) {
  return parts.texts[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function percent(share) {
  return (100 * share).toLocaleString(language, { maximumFractionDigits: 1, minimumFractionDigits: 1 }) + " %";
}

// A long name is broken after "_" rather than within a word.
function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  const parts = text.match(/[^_]*_+(?=[^_])|[^]+/g) || [];
  made.append(...parts.flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part])));
  return made;
}

// What an answer comes to: the kinds in their order, and whether to rely on the first.
function judged(found) {
  const order = found.probabilities.map((share, place) => ({ name: facts.classes[place], share, place }));
  order.sort((one, other) => other.share - one.share);
  const among = found.set ? order.filter(({ place }) => found.set[place]) : order.slice(0, 1);
  const unlike = found.unlike !== null && found.unlike > 0;
  const limit = facts.threshold ? facts.threshold.value : 0.5;
  return { order, among, unlike, unsure: order[0].share < limit || among.length > 1 };
}

function listed(names) {
  return names.length > 1 ? names.slice(0, -1).join(", ") + t("or") + names[names.length - 1] : names[0];
}

function setSentence(among) {
  const others = among.slice(1).map((one) => one.name);
  const more = others.length - NAMED;
  if (more > 0) return t("set_many", { names: others.slice(0, NAMED).join(", "), n: more });
  return t("set", { names: listed(others) });
}

function barOf({ name, share, place }, among) {
  const bar = element("div", "bar");
  const track = element("span", "track");
  const filled = element("span");
  filled.style.width = `${100 * share}%`;
  track.append(filled);
  const isIn = among.some((one) => one.place === place);
  bar.append(element("span", isIn ? "in" : "", name), track, element("span", "share", percent(share)));
  return bar;
}

// The answer as elements.
function answerElements(found) {
  const { order, among, unlike, unsure } = judged(found);
  const best = order[0];
  const box = element("div", unlike || unsure ? "doubtful" : "");
  box.append(element("p", "best", unlike ? t("unlike") : best.name));
  if (unlike) box.append(element("p", "sure", `${t("unlike_note")} ${t("nearest", { name: best.name })}`));
  else box.append(element("p", "sure", t(unsure ? "unsure" : "sure", { share: percent(best.share) })));
  box.append(...order.slice(0, MOST_BARS).map((one) => barOf(one, among)));
  if (!unlike && among.length > 1) box.append(element("p", "note", setSentence(among)));
  box.append(element("p", "note", t("milliseconds", { ms: Math.round(found.milliseconds) })));
  return box;
}

// Heat over a picture: places that spoke against nothing stay dim.
function drawHeat(canvas, { width, height, values }) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const most = Math.max(...values, 1e-9);
  values.forEach((value, place) => {
    const warmth = Math.max(0, value / most);
    image.data.set([255, Math.round(190 * warmth), 40, Math.round(40 + 150 * warmth)], 4 * place);
    if (warmth < 0.25) image.data.set([20, 24, 32, Math.round(170 - 480 * warmth)], 4 * place);
  });
  context.putImageData(image, 0, 0);
}
