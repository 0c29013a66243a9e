"use strict";
const serving = document.querySelector(".serving");

// The first use of a run exports it, which takes some seconds.
if (serving?.tagName === "FORM") {
  const choice = serving.querySelector("select"), use = serving.querySelector("button");
  const limit = () => { use.disabled = !choice.value || choice.value === serving.dataset.run; };
  choice.addEventListener("change", limit);
  window.addEventListener("pageshow", limit);
  serving.addEventListener("submit", () => {
    use.disabled = true;
    use.textContent = t("serving.loading");
  });
  limit();
}

// Another page may have let another run answer meanwhile.
document.addEventListener("visibilitychange", async () => {
  if (document.hidden || !serving) return;
  const response = await fetch("/api/health").catch(() => null);
  if (response?.ok && (await response.json()).run !== serving.dataset.run) location.reload();
});
