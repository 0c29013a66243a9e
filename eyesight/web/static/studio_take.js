"use strict";
const problem = document.getElementById("problem");
let making = "";

async function make(to) {
  making = to;
  if (!await trying(() => tell("/export", { to }), problem)) making = "";
  refresh();
}

for (const button of document.querySelectorAll(".make")) {
  button.addEventListener("click", () => make(button.dataset.to));
}
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.closest("section").querySelector("pre").textContent);
    say(t("studio.copied"));
  });
}

if (problem) {
  follow(now => {
    const busy = now.working === "export";
    const working = document.getElementById("working");
    working.hidden = !busy;
    working.querySelector("span").textContent = t("studio.making");
    for (const button of document.querySelectorAll(".make")) button.disabled = busy;
    if (busy || !making) return;
    problem.hidden = !now.problem;
    problem.replaceChildren(...told(now.problem));
    if (!now.problem) location.href = `${here}/download/${making}`;
    making = "";
  }, 1);
}
