"use strict";
const TEXTS = JSON.parse(document.getElementById("texts").textContent);

function t(key, values = {}) {
  return TEXTS[key].replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}
