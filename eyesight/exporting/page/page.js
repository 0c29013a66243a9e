"use strict";
// What a person does on the page: pick, drop, paste, the camera; and what it shows them.

const $ = (id) => document.getElementById(id);
const MOST_KEPT = 60; // pictures in the row below
const TINY = 96; // pixels below which a picture is shown in squares
const shown = []; // pictures of this visit: { name, image, found }
let current = null;
let isLooking = false;
let problem = null; // [key, values]

function showProblem(key, values = {}) {
  problem = key ? [key, values] : null;
  $("problem").hidden = !problem;
  $("problem").textContent = problem ? t(...problem) : "";
}

function drawImage(canvas, { width, height, planes }) {
  canvas.width = width;
  canvas.height = height;
  canvas.classList.toggle("tiny", Math.max(width, height) < TINY);
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let place = 0; place < width * height; place++) {
    for (let band = 0; band < 3; band++) data[4 * place + band] = planes[band % planes.length][place];
  }
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
}

// The part of the picture that the network sees, beside which nothing is seen under "crop".
function seenPart(image) {
  if (preparation.resize !== "crop") return { left: 0, top: 0, width: image.width, height: image.height };
  const [wide, high] = resizedSize(image, preparation.width, preparation.height, preparation);
  const width = (image.width * preparation.width) / wide;
  const height = (image.height * preparation.height) / high;
  return { left: (image.width - width) / 2, top: (image.height - height) / 2, width, height };
}

function showHeat() {
  const can = Boolean(current && current.found && current.found.heat && preparation.resize !== "letterbox");
  $("look").hidden = !can;
  $("look").setAttribute("aria-pressed", String(isLooking));
  $("heat").hidden = !(can && isLooking);
  if ($("heat").hidden) return;
  const small = document.createElement("canvas");
  drawHeat(small, current.found.heat);
  const { width, height } = current.image;
  const scale = Math.min(1, 480 / Math.max(width, height)) * (Math.max(width, height) < TINY ? 12 : 1);
  const canvas = $("heat");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const part = seenPart(current.image);
  const context = canvas.getContext("2d");
  context.drawImage(small, part.left * scale, part.top * scale, part.width * scale, part.height * scale);
}

function show(item) {
  current = item;
  $("shown").hidden = !item;
  document.body.classList.toggle("asked", Boolean(item));
  if (!item) return;
  if (!camera.stream) {
    drawImage($("picture"), item.image);
    $("picture").setAttribute("aria-label", item.name);
  }
  const lookCaption = isLooking && item.found && item.found.heat;
  const best = item.found ? judged(item.found).order[0].name : "";
  $("caption").textContent = lookCaption ? t("look_caption", { name: best }) : item.name;
  $("answer").replaceChildren(item.found ? answerElements(item.found) : element("p", "sure", t("looking")));
  showHeat();
  showOthers();
}

function showOthers() {
  $("others").hidden = shown.length < 2;
  const rows = shown.map((item) => {
    const button = element("button");
    const canvas = document.createElement("canvas");
    drawImage(canvas, item.small);
    const best = item.found ? judged(item.found) : null;
    const caption = best ? (best.unlike ? t("unlike") : best.order[0].name) : "…";
    button.type = "button";
    button.append(canvas, element("span", "", caption));
    button.setAttribute("aria-current", String(item === current));
    button.setAttribute("aria-label", t("picture_of", { file: item.name, name: caption }));
    button.addEventListener("click", () => show(item));
    const row = document.createElement("li");
    row.append(button);
    return row;
  });
  document.querySelector("#others ul").replaceChildren(...rows);
}

function thumbnailOf(image) {
  const scale = Math.min(1, 128 / Math.max(image.width, image.height));
  if (scale === 1) return image;
  return resize(image, Math.max(1, Math.round(image.width * scale)), Math.max(1, Math.round(image.height * scale)), "area");
}

async function ask(item) {
  item.found = await answer(prepare(item.image, preparation));
  if (item === current) show(item);
  else showOthers();
}

async function take(name, bytes) {
  try {
    const image = await decode(bytes, preparation.depth);
    const item = { name, image, small: thumbnailOf(image), found: null };
    shown.unshift(item);
    shown.length = Math.min(shown.length, MOST_KEPT);
    show(item);
    await ask(item);
  } catch (error) {
    if (!(error instanceof BadPicture)) throw error;
    if (current && !current.found) forget(current);
    showProblem(error.key, { file: name, width: preparation.width, height: preparation.height });
  }
}

function forget(item) {
  shown.splice(shown.indexOf(item), 1);
  show(shown[0] || null);
}

async function takeFiles(files) {
  showProblem(null);
  endCamera();
  for (const file of files) await take(file.name || t("pasted"), new Uint8Array(await file.arrayBuffer()));
}

async function beginCamera() {
  showProblem(null);
  const live = { name: t("taken"), image: null, found: null };
  try {
    await startCamera($("video"), async (image) => {
      if ($("video").hidden) showVideo(true);
      live.image = image;
      live.found = await answer(prepare(image, preparation));
      if (camera.stream) show(live);
    });
  } catch (error) {
    endCamera();
    showProblem("no_camera");
  }
}

function showVideo(isOn) {
  $("video").hidden = $("shoot").hidden = $("stop").hidden = !isOn;
  $("picture").hidden = isOn;
  $("camera").hidden = isOn;
}

function endCamera() {
  const was = camera.stream;
  stopCamera($("video"));
  showVideo(false);
  if (was) show(shown[0] || null);
}

async function shoot() {
  const image = fromDrawable($("video"), $("video").videoWidth, $("video").videoHeight);
  endCamera();
  const item = { name: t("taken"), image, small: thumbnailOf(image), found: null };
  shown.unshift(item);
  show(item);
  await ask(item);
}

function showExamples() {
  const examples = facts.examples || [];
  $("examples").hidden = !examples.length;
  const rows = examples.map(({ name, data }) => {
    const button = element("button");
    const picture = document.createElement("img");
    picture.src = data;
    picture.alt = "";
    button.type = "button";
    button.append(picture, element("span", "", name));
    button.setAttribute("aria-label", t("example_of", { name }));
    button.addEventListener("click", () => takeExample(name, data));
    const row = document.createElement("li");
    row.append(button);
    return row;
  });
  document.querySelector("#examples ul").replaceChildren(...rows);
}

async function takeExample(name, data) {
  showProblem(null);
  endCamera();
  await take(t("example_of", { name }), fromBase64(data.split(",")[1]));
}

function aboutRows() {
  const number = (value) => value.toLocaleString(language);
  const rows = [["about_kinds", facts.classes.join(", ")]];
  if (facts.data) rows.push(["about_data", facts.data]);
  if (facts.accuracy !== null) rows.push(["about_accuracy", t("about_accuracy_value", accuracyValues())]);
  const { temperature_pictures: pictures, set_pictures: kept, proof } = facts;
  rows.push(["about_calibration", pictures ? t("about_calibration_value", { pictures: number(pictures) }) : t("about_calibration_none")]);
  rows.push(["about_sets", kept ? t("about_sets_value", { pictures: number(kept) }) : t("about_sets_none")]);
  const values = proof && { ...proof, pictures: number(proof.pictures), difference: (100 * proof.largest_difference).toPrecision(1) + " %" };
  rows.push(["about_proof", proof ? t("about_proof_value", values) : t("about_proof_none")]);
  if (facts.run) rows.push(["about_run", facts.run]);
  rows.push(["about_version", t("about_version_value", facts)], ["about_hash", t("about_hash_value", { hash: facts.sha256 })]);
  return rows;
}

function accuracyValues() {
  return { accuracy: percent(facts.accuracy), pictures: facts.accuracy_pictures.toLocaleString(language) };
}

function showAbout() {
  const rows = aboutRows().flatMap(([key, value]) => [element("dt", "", t(key)), element("dd", "", value)]);
  document.querySelector("#about dl").replaceChildren(...rows);
}

function showTexts() {
  document.documentElement.lang = language;
  for (const made of document.querySelectorAll("[data-text]")) made.textContent = t(made.dataset.text);
  for (const made of document.querySelectorAll("[data-label]")) made.setAttribute("aria-label", t(made.dataset.label));
  $("language").textContent = t("other_language");
  $("language").lang = language === "ko" ? "en" : "ko";
  for (const name of ["camera", "look", "shoot", "stop"]) $(name).textContent = t(name);
  const few = facts.classes.length <= 12;
  const classes = (few ? facts.classes : facts.classes.slice(0, 5)).join(", ");
  let summary = t(few ? "summary" : "summary_many", { n: facts.classes.length, classes });
  if (facts.accuracy !== null) summary += t("accuracy", accuracyValues());
  $("summary").textContent = summary;
  $("unproven").hidden = Boolean(facts.proof);
  $("unproven").textContent = t("unproven");
  if (problem) showProblem(...problem);
  showExamples();
  showAbout();
  show(current);
}

function begin() {
  showTexts();
  $("camera").hidden = !navigator.mediaDevices;
  $("language").addEventListener("click", () => {
    language = language === "ko" ? "en" : "ko";
    showTexts();
  });
  $("file").addEventListener("change", async () => {
    const files = [...$("file").files];
    $("file").value = "";
    await takeFiles(files);
  });
  $("camera").addEventListener("click", beginCamera);
  $("stop").addEventListener("click", endCamera);
  $("shoot").addEventListener("click", shoot);
  $("look").addEventListener("click", () => {
    isLooking = !isLooking;
    show(current);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) takeFiles([...event.clipboardData.files]);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle("over", kind === "dragover");
      if (kind === "drop") takeFiles([...event.dataTransfer.files]);
    });
  }
  globalThis.eyesight.ready.catch((error) => showProblem("failed", { error: error.message }));
}

begin();
