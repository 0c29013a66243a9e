"use strict";
for (const button of document.querySelectorAll(".use")) {
  button.addEventListener("click", async () => {
    if (await trying(() => tell("/use", { run: button.dataset.run }))) location.reload();
  });
}
for (const button of document.querySelectorAll(".resume")) {
  button.addEventListener("click", async () => {
    if (await trying(() => tell("/train", { resume: button.dataset.run }))) location.href = `${here}/train`;
  });
}
follow((now, before) => {
  const changed = now.answers !== before.answers || now.trainings !== before.trainings;
  if (changed || now.progress.phase !== before.progress.phase) location.reload();
}, 3);
