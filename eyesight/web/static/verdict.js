"use strict";
// What an answer may be relied on: the same sentences on the first page and in the studio's Try.
const OTHERS = 3; // classes that a sentence names

function nothingKnown(said) {
  return said.doubt === "unlike" ? t("doubt.nothing_known") : "";
}

function oneOf(names) {
  if (names.length < 2) return names.join("");
  return t("doubt.or", { some: names.slice(0, -1).join(", "), last: names[names.length - 1] });
}

function doubtOf(said, named = name => name) {
  if (said.doubt !== "unsure") return said.doubt ? t("doubt." + said.doubt) : "";
  const others = (said.set || []).slice(1).map(named);
  const more = others.length - OTHERS;
  if (more <= 0) return t("doubt.unsure", { others: oneOf(others) });
  return t("doubt.unsure_many", { others: others.slice(0, OTHERS).join(", "), n: more });
}

function closest(bars) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = t("doubt.closest");
  details.append(summary, ...bars);
  return details;
}
