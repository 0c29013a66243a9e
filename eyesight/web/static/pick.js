"use strict";
const input = document.getElementById("picture"), photo = document.getElementById("photo");
const stage = document.getElementById("stage"), invite = document.getElementById("invite");
const preview = document.getElementById("preview"), live = document.getElementById("live");
const watch = document.getElementById("watch"), cameraProblem = document.getElementById("camera_problem");
const another = document.getElementById("another");
const answer = document.getElementById("answer");
const EVERY = 700; // milliseconds between two pictures of the camera
const TINY = 96; // pixels of a side up to which a picture is enlarged in squares
let latest = 0, given = null, timer = 0;

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

function show(file) {
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.hidden = false;
  live.hidden = invite.hidden = true;
  another.hidden = false;
}

// Note the picture that is asked about; one of the running camera is seen in the video already.
function take(file) {
  given = file;
  if (!watching()) {
    show(file);
    answer.replaceChildren(line(t("front.looking"), "faint"));
  }
  return ++latest;
}

function watching() {
  return Boolean(live.srcObject);
}

function stopWatching() {
  clearTimeout(timer);
  if (!watching()) return;
  closeCamera(live);
  watch.setAttribute("aria-pressed", "false");
  watch.textContent = t("front.camera");
  live.hidden = true;
  if (given) show(given); else invite.hidden = false;
}

async function startWatching() {
  cameraProblem.hidden = true;
  try {
    await openCamera(live);
  } catch {
    cameraProblem.textContent = t("front.no_camera");
    cameraProblem.hidden = false;
    return;
  }
  live.hidden = false;
  preview.hidden = invite.hidden = true;
  watch.setAttribute("aria-pressed", "true");
  watch.textContent = t("front.stop");
  const next = async () => {
    const picture = watching() && await snapshot(live);
    if (picture && watching()) await recognise(picture);
    if (watching()) timer = setTimeout(next, EVERY);
  };
  next();
}

function pick(file) {
  if (!file) return;
  stopWatching();
  recognise(file);
}

for (const one of [input, photo]) {
  one.addEventListener("change", () => { pick(one.files[0]); one.value = ""; });
}
const touch = matchMedia("(pointer: coarse)").matches;
watch.hidden = !hasCamera;
another.addEventListener("click", () => input.click());
document.getElementById("camera").hidden = !touch;
watch.addEventListener("click", () => { if (watching()) stopWatching(); else startWatching(); });
document.addEventListener("paste", event => pick(event.clipboardData.files[0]));
document.addEventListener("dragover", event => { event.preventDefault(); stage.classList.add("over"); });
document.addEventListener("dragleave", event => { if (!event.relatedTarget) stage.classList.remove("over"); });
document.addEventListener("drop", event => { event.preventDefault(); stage.classList.remove("over"); pick(event.dataTransfer.files[0]); });
preview.addEventListener("load", () => {
  preview.classList.toggle("tiny", Math.max(preview.naturalWidth, preview.naturalHeight) <= TINY);
});
preview.addEventListener("error", () => { preview.hidden = true; invite.hidden = false; });
