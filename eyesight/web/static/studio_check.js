"use strict";
const working = document.getElementById("working");
const problem = document.getElementById("problem");
let wasWorking = false;

function partsOf(id) {
  const place = id.indexOf("/");
  return { of: id.slice(0, place), file: id.slice(place + 1) };
}

document.getElementById("begin")?.addEventListener("click", async () => {
  if (await trying(() => tell("/check"), problem)) refresh();
});
document.getElementById("stop").addEventListener("click", () => trying(() => tell("/stop")));

for (const button of document.querySelectorAll("[data-new]")) {
  button.addEventListener("click", async () => {
    const item = button.closest("[data-id]");
    const done = await trying(() => tell("/correct", { ids: [item.dataset.id], new: button.dataset.new }));
    if (!done) return;
    item.classList.add("settled");
    for (const other of item.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
  });
}

async function takeOut(ids, item) {
  for (const id of ids) {
    const { of, file } = partsOf(id);
    if (!await trying(() => tell("/remove", { of, files: [file] }))) return;
  }
  item.classList.add("settled");
  for (const button of item.querySelectorAll("button")) button.disabled = true;
  say(t("studio.taken_out", { n: ids.length }));
}

for (const button of document.querySelectorAll(".take-out")) {
  const item = button.closest("[data-id]");
  button.addEventListener("click", () => takeOut([item.dataset.id], item));
}
for (const button of document.querySelectorAll(".keep-one")) {
  const group = button.closest("li");
  const ids = [...group.querySelectorAll("[data-id]")].map(figure => figure.dataset.id);
  button.addEventListener("click", () => takeOut(ids.slice(1), group));
}

follow(now => {
  const busy = now.working === "check";
  working.hidden = !busy;
  document.getElementById("offer").hidden = busy;
  for (const finding of document.querySelectorAll(".finding")) finding.hidden = busy;
  document.getElementById("doing").textContent = now.doing;
  if (wasWorking && !busy) location.reload();
  wasWorking = busy;
}, 1);
