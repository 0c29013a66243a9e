"use strict";
const grid = document.getElementById("classes");
const cardTemplate = document.getElementById("card");
const cards = new Map();
const FEW = 10;
let lastUsed = "";

function cardOf(name) {
  if (cards.has(name)) return cards.get(name);
  const root = cardTemplate.content.firstElementChild.cloneNode(true);
  const card = { name, root, start: 0, count: -1, version: "", chosen: new Set() };
  root.querySelector("h2").append(...breakable(name));
  root.setAttribute("aria-label", name);
  root.addEventListener("focusin", () => { lastUsed = name; });
  root.addEventListener("pointerdown", () => { lastUsed = name; });
  onDrop(root, files => takeInto(name, files));
  for (const input of root.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      for (const file of input.files) take(file, name);
      input.value = "";
    });
  }
  const camera = root.querySelector(".camera");
  camera.addEventListener("click", () => shootInto(name));
  showCameraButtons(root, camera);
  root.querySelector(".rename").addEventListener("click", () => rename(name, root));
  root.querySelector(".remove-class").addEventListener("click", () => removeClass(name, root));
  root.querySelector(".remove").addEventListener("click", () => removeChosen(card));
  root.querySelector("select").addEventListener("change", event => moveChosen(card, event.target.value));
  root.querySelector(".before").addEventListener("click", () => turn(card, -1));
  root.querySelector(".after").addEventListener("click", () => turn(card, 1));
  cards.set(name, card);
  return card;
}

function isArchive(file) {
  return /\.(zip|tar|tgz|tar\.gz)$/i.test(file.name);
}

function take(file, name) {
  if (isArchive(file)) sendArchive(file, name);
  else send(file, name);
}

function takeInto(name, found) {
  for (const { file } of found) take(file, name);
}

// Folders that are dropped beside the classes name them; a lone file goes where one was last.
async function takeAnywhere(found) {
  const names = new Map();
  for (const { file, folder } of found) {
    if (isArchive(file)) { sendArchive(file, ""); continue; }
    const name = folder || lastUsed || state.classes[0]?.name;
    if (!name) { say(t("studio.name_first")); return; }
    if (!names.has(name)) {
      const made = await trying(() => tell("/classes", { name }));
      names.set(name, made && made.name);
    }
    if (names.get(name)) send(file, names.get(name));
  }
  refresh();
}

async function sendArchive(file, to) {
  say(t("studio.unpacking", { name: file.name }));
  const headers = { "X-Name": encodeURIComponent(file.name), "Content-Type": "application/zip" };
  const query = new URLSearchParams(to ? { to } : {});
  const answer = await trying(async () =>
    answerOf(await fetch(`${here}/archive?${query}`, { method: "POST", body: file, headers })));
  if (!answer) return;
  for (const one of answer.broken) fail(one.name, one.reason);
  say(t("studio.added", { n: answer.added.toLocaleString() }));
  refresh();
}

async function showFiles(card) {
  const query = new URLSearchParams({ of: card.name, start: card.start });
  const page = await ask(`/files?${query}`).catch(() => null);
  if (!page) return;
  card.start = page.start;
  const list = card.root.querySelector(".thumbs");
  const present = new Set(page.files.map(one => one.file));
  for (const file of card.chosen) if (!present.has(file)) card.chosen.delete(file);
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.file : "";
  list.replaceChildren(...page.files.map(one => thumb(card, one)));
  if (focused) list.querySelector(`[data-file="${CSS.escape(focused)}"]`)?.focus();
  card.root.querySelector(".empty").hidden = page.count > 0;
  const turning = card.root.querySelector(".turn");
  turning.hidden = page.count <= page.page;
  turning.querySelector("span").textContent =
    `${(page.start + 1).toLocaleString()}–${(page.start + page.files.length).toLocaleString()}`;
  turning.querySelector(".before").disabled = page.start === 0;
  turning.querySelector(".after").disabled = page.start + page.page >= page.count;
  card.page = page.page;
  showChosen(card);
}

function thumb(card, one) {
  const item = element("li");
  const button = element("button");
  const image = element("img");
  button.type = "button";
  button.dataset.file = one.file;
  button.setAttribute("aria-pressed", card.chosen.has(one.file));
  image.src = one.address;
  image.loading = "lazy";
  image.alt = `${card.name} ${one.file}`;
  button.append(image);
  button.addEventListener("click", () => {
    if (card.chosen.has(one.file)) card.chosen.delete(one.file); else card.chosen.add(one.file);
    button.setAttribute("aria-pressed", card.chosen.has(one.file));
    showChosen(card);
  });
  item.append(button);
  return item;
}

function showChosen(card) {
  const place = card.root.querySelector(".chosen");
  place.hidden = !card.chosen.size;
  place.querySelector("span").textContent = t("studio.chosen", { n: card.chosen.size });
  const select = place.querySelector("select");
  const others = state.classes.map(one => one.name).filter(name => name !== card.name);
  select.replaceChildren(new Option(t("studio.choose_class"), ""), ...others.map(name => new Option(name, name)));
}

function turn(card, way) {
  card.start = Math.max(0, card.start + way * card.page);
  showFiles(card);
}

async function removeChosen(card) {
  const files = [...card.chosen];
  card.chosen.clear();
  await trying(() => tell("/remove", { of: card.name, files }));
  await refresh();
  showFiles(card);
  card.root.focus();
}

async function moveChosen(card, to) {
  if (!to) return;
  const files = [...card.chosen];
  card.chosen.clear();
  const answer = await trying(() => tell("/move", { of: card.name, files, to }));
  if (answer) say(t("studio.moved", { n: answer.moved, name: to }));
  await refresh();
}

function askFor(text, value) {
  const dialog = document.getElementById("ask");
  const input = dialog.querySelector("input");
  dialog.querySelector("label span").textContent = text;
  input.value = value;
  dialog.returnValue = "";
  dialog.showModal();
  input.select();
  return new Promise(answer => {
    dialog.addEventListener("close", () => answer(dialog.returnValue ? input.value : ""), { once: true });
  });
}

async function rename(old, root) {
  root.querySelector(".menu").open = false;
  const name = await askFor(t("studio.rename"), old);
  if (!name || name === old) return;
  await trying(() => tell("/classes", { old, name }));
  refresh();
}

async function removeClass(old, root) {
  root.querySelector(".menu").open = false;
  await trying(() => tell("/classes", { old }));
  refresh();
}

// The camera: held down, it takes five pictures a second, which stay together when they are split.
const camera = document.getElementById("camera");
const video = camera.querySelector("video");
const hold = document.getElementById("hold");
let rolling = 0;
let shots = 0;
let into = "";

async function shootInto(name) {
  into = name;
  shots = 0;
  document.getElementById("camera-title").textContent = name;
  document.getElementById("shots").textContent = "";
  camera.showModal();
  const problem = document.getElementById("camera-problem");
  problem.hidden = true;
  try {
    await openCamera(video);
  } catch {
    problem.textContent = t("studio.no_camera");
    problem.hidden = false;
  }
}

function roll() {
  if (rolling || !video.srcObject) return;
  const burst = Math.random().toString(36).slice(2, 10);
  const shot = async () => {
    const picture = await snapshot(video);
    if (!picture) return;
    send(new File([picture], `${t("studio.photo")} ${shots + 1}.jpg`, { type: picture.type }), into, burst);
    shots += 1;
    document.getElementById("shots").textContent = pictures(shots);
  };
  hold.classList.add("rolling");
  rolling = setInterval(shot, 200);
  shot();
}

function cut() {
  clearInterval(rolling);
  rolling = 0;
  hold.classList.remove("rolling");
}

hold.addEventListener("pointerdown", event => { hold.setPointerCapture(event.pointerId); roll(); });
for (const kind of ["pointerup", "pointercancel", "keyup", "blur"]) hold.addEventListener(kind, cut);
hold.addEventListener("keydown", event => {
  if (event.key === " " || event.key === "Enter") { event.preventDefault(); roll(); }
});
document.getElementById("camera-done").addEventListener("click", () => camera.close());
camera.addEventListener("close", () => { cut(); closeCamera(video); refresh(); });

document.getElementById("add-class").addEventListener("submit", async event => {
  event.preventDefault();
  const input = document.getElementById("class-name");
  const name = input.value;
  const made = await trying(() => tell("/classes", { name }), document.getElementById("class-refused"));
  if (!made) return;
  input.value = "";
  lastUsed = made.name;
  await refresh();
});
document.getElementById("pick-folder").addEventListener("change", event => {
  const found = [...event.target.files].map(file => {
    const parts = file.webkitRelativePath.split("/");
    return { file, folder: parts[parts.length - 2] || "" };
  });
  takeAnywhere(found);
  event.target.value = "";
});
document.getElementById("pick-zip").addEventListener("change", event => {
  for (const file of event.target.files) sendArchive(file, "");
  event.target.value = "";
});
document.getElementById("undo").addEventListener("click", async () => {
  const answer = await trying(() => tell("/undo"));
  if (answer) say(t("studio.restored", { n: answer.restored, name: answer.of }));
  refresh();
});
document.addEventListener("paste", event => {
  const files = [...event.clipboardData.files];
  if (files.length) takeAnywhere(files.map(file => ({ file, folder: "" })));
});
onDrop(document.querySelector("main"), takeAnywhere);

function show(now) {
  const names = now.classes.map(one => one.name);
  for (const [name, card] of cards) {
    if (!names.includes(name)) { card.root.remove(); cards.delete(name); }
  }
  now.classes.forEach((one, place) => {
    const card = cardOf(one.name);
    if (grid.children[place] !== card.root) grid.insertBefore(card.root, grid.children[place] || null);
    const count = card.root.querySelector(".count");
    count.textContent = one.count.toLocaleString();
    count.title = pictures(one.count);
    count.classList.toggle("few", one.count < FEW);
    const busy = Boolean(sending || waiting.length);
    if (card.version === now.version || (busy && card.count >= 0 && one.count > 120)) return;
    if (card.count !== one.count || card.version !== now.version) showFiles(card);
    card.count = one.count;
    card.version = now.version;
  });
  const sum = now.classes.reduce((all, one) => all + one.count, 0);
  document.getElementById("next").hidden = !sum;
  document.getElementById("sum").textContent = now.classes.length
    ? t(now.classes.length === 1 ? "studio.sum_one" : "studio.sum", { n: now.classes.length, pictures: pictures(sum) }) : "";
  const undo = document.getElementById("undo");
  undo.hidden = !now.removed;
  undo.textContent = t("studio.undo", { n: now.removed });
}

follow(show);
