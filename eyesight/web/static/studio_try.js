"use strict";
const stage = document.getElementById("stage");
const answer = document.getElementById("answer");
const after = document.getElementById("after");
const given = document.getElementById("given");
const live = document.getElementById("live");
const look = document.getElementById("look");
const watch = document.getElementById("watch");
const EVERY = 700; // milliseconds between two pictures of the camera
const TINY = 96; // pixels of a side up to which a picture is enlarged in squares
const VERY_SURE = 0.95;
const RATHER_SURE = 0.75;
let current = null;
let latest = 0;
let timer = 0;

function bar(named) {
  const row = element("div", "", "bar");
  const meter = element("meter");
  meter.value = named.probability;
  meter.setAttribute("aria-hidden", "true");
  row.append(element("span", named.class), meter, element("span", `${Math.round(100 * named.probability)} %`));
  return row;
}

function sureness(said) {
  const best = said.top[0].probability;
  if (best >= VERY_SURE) return t("studio.very_sure");
  return best >= RATHER_SURE ? t("studio.rather_sure") : "";
}

// Where neither a set nor a threshold judges the answer, its own probability does.
function untold(said) {
  return said.sure === null && said.top[0].probability < RATHER_SURE ? t("doubt.even") : "";
}

function show(said) {
  const doubt = doubtOf(said) || untold(said);
  const name = nothingKnown(said) || said.top[0].class;
  const parts = [element("p", name, "name"), element("p", doubt || sureness(said), doubt ? "sure warn" : "sure")];
  const bars = said.top.map(bar);
  answer.replaceChildren(...parts, ...(nothingKnown(said) ? [closest(bars)] : bars));
  look.hidden = !said.supports_heatmap;
  after.hidden = false;
}

async function recognise(file, keep = true) {
  const mine = ++latest;
  current = file;
  if (keep) {
    if (given.src) URL.revokeObjectURL(given.src);
    given.src = URL.createObjectURL(file);
    given.hidden = false;
    live.hidden = true;
    document.getElementById("invite").hidden = true;
    look.setAttribute("aria-pressed", "false");
    answer.replaceChildren(element("p", t("studio.looking"), "faint"));
  }
  try {
    const said = await answerOf(await fetch(`${here}/predict`, { method: "POST", body: file }));
    if (mine === latest) show(said);
  } catch (error) {
    if (mine !== latest) return;
    after.hidden = true;
    answer.replaceChildren(element("p", explain(error), "warn"));
  }
}

async function heatmap() {
  const response = await fetch(`${here}/explain`, { method: "POST", body: current });
  return response.ok ? response.blob() : answerOf(response);
}

async function lookedAt() {
  const pressed = look.getAttribute("aria-pressed") !== "true";
  look.setAttribute("aria-pressed", pressed);
  stopWatching();
  let shown = current;
  if (pressed) {
    shown = await trying(heatmap);
    if (!shown) { look.setAttribute("aria-pressed", "false"); return; }
  }
  given.src = URL.createObjectURL(shown);
  given.hidden = false;
}

function stopWatching() {
  clearTimeout(timer);
  if (!live.srcObject) return;
  closeCamera(live);
  live.hidden = true;
  watch.setAttribute("aria-pressed", "false");
  if (current) { given.src = URL.createObjectURL(current); given.hidden = false; }
}

async function startWatching() {
  const problem = document.getElementById("camera-problem");
  problem.hidden = true;
  try {
    await openCamera(live);
  } catch {
    problem.textContent = t("studio.no_camera");
    problem.hidden = false;
    return;
  }
  live.hidden = false;
  given.hidden = true;
  document.getElementById("invite").hidden = true;
  watch.setAttribute("aria-pressed", "true");
  const next = async () => {
    if (!live.srcObject) return;
    const picture = await snapshot(live);
    if (picture && live.srcObject) await recognise(picture, false);
    timer = setTimeout(next, EVERY);
  };
  next();
}

async function correct(name) {
  stopWatching();
  const query = new URLSearchParams({ to: name });
  const kept = await trying(async () =>
    answerOf(await fetch(`${here}/pictures?${query}`, { method: "POST", body: current })));
  if (kept) say(t(kept.state === "elsewhere" ? "studio.is_elsewhere" : "studio.learnt_later", { name: kept.elsewhere || name }));
}

function heldItem(one) {
  const item = element("li");
  const image = element("img");
  const verdict = one.right
    ? t("studio.said_right", { name: one.answer })
    : t("studio.said_wrong", { answer: one.answer, truth: one.truth });
  image.src = one.address;
  image.alt = one.truth;
  image.loading = "lazy";
  item.append(image, element("p", verdict, one.right ? "verdict yes" : "verdict no"));
  if (one.right) return item;
  const choices = element("p", "", "choices");
  const right = element("button", t("studio.it_is", { name: one.answer }));
  right.type = "button";
  right.addEventListener("click", async () => {
    const done = await trying(() => tell("/correct", { ids: [one.id], new: one.answer }));
    if (done) { item.classList.add("settled"); right.disabled = true; say(t("studio.corrected", { n: done.corrections })); }
  });
  choices.append(right);
  item.append(choices);
  return item;
}

async function showHeld() {
  const held = await ask("/held").catch(() => null);
  if (!held || !held.pictures.length) return;
  document.getElementById("held").hidden = false;
  document.querySelector("#held ul").replaceChildren(...held.pictures.map(heldItem));
}

if (stage) {
  given.addEventListener("load", () => given.classList.toggle("tiny", Math.max(given.naturalWidth, given.naturalHeight) <= TINY));
  onDrop(document.querySelector("main"), found => { if (found[0]) { stopWatching(); recognise(found[0].file); } });
  document.addEventListener("paste", event => { const file = event.clipboardData.files[0]; if (file) recognise(file); });
  for (const input of [document.getElementById("picture"), document.getElementById("photo")]) {
    input.addEventListener("change", () => {
      if (input.files[0]) { stopWatching(); recognise(input.files[0]); }
      input.value = "";
    });
  }
  watch.addEventListener("click", () => { if (live.srcObject) stopWatching(); else startWatching(); });
  look.addEventListener("click", lookedAt);
  showCameraButtons(document, watch);
  document.getElementById("names").append(...state.classes.map(one => {
    const button = element("button", one.name);
    button.type = "button";
    button.addEventListener("click", () => correct(one.name));
    return button;
  }));
  showHeld();
  follow((now, before) => { if (now.answers !== before.answers) location.reload(); }, 3);
}
