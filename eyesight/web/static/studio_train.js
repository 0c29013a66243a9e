"use strict";
const plan = document.getElementById("plan");
const going = document.getElementById("going");
const ended = document.getElementById("ended");
const failed = document.getElementById("failed");
const refused = document.getElementById("refused");
let watched = false;

function seconds() {
  const chosen = plan.querySelector("input[name=seconds]:checked").value;
  return chosen === "other" ? 60 * Number(document.getElementById("minutes").value) : Number(chosen);
}

async function start(values) {
  const answer = await trying(() => tell("/train", values), refused);
  if (!answer) return;
  watched = true;
  refresh();
}

function words(progress) {
  if (progress.phase === "preparing") return t("studio.preparing");
  if (progress.phase === "judging") return t("studio.judging");
  if (!progress.judged) return t("studio.learning");
  return t("studio.right_so_far", { right: progress.right, judged: progress.judged });
}

function draw(curve) {
  document.getElementById("curve").hidden = curve.length < 2;
  const step = 600 / Math.max(1, curve.length - 1);
  const points = curve.map((value, place) => `${(place * step).toFixed(1)},${(140 - 130 * value).toFixed(1)}`);
  document.querySelector("#curve polyline").setAttribute("points", points.join(" "));
}

function left(progress) {
  if (progress.stopping) return t("studio.stopping");
  if (progress.seconds_left === null) return "";
  const rest = Math.round(progress.seconds_left);
  if (rest <= 0) return t("studio.nearly");
  return rest < 90 ? t("studio.seconds_left", { n: rest }) : t("studio.minutes_left", { n: Math.round(rest / 60) });
}

function meaning(progress) {
  const share = progress.right / Math.max(1, progress.judged);
  if (progress.judged < 20) return t("studio.means_few");
  if (share >= 0.95) return t("studio.means_good");
  return share >= 0.8 ? t("studio.means_fair") : t("studio.means_poor");
}

// Also for whoever comes back after it failed.
function showFailure(progress) {
  const hidden = progress === null || progress.phase !== "failed";
  if (!hidden && failed.hidden) {
    const short = progress.short_of_time;
    const reason = short ? [t("studio.no_time")] : told(progress.problem);
    const remedy = element("span", short ? t("studio.more_time") : progress.hint);
    if (!short) remedy.lang = "en";
    document.getElementById("reason").replaceChildren(...reason);
    document.getElementById("remedy").replaceChildren(remedy);
    const longer = plan.querySelector("input[value='300']");
    if (short && longer) longer.checked = true;
  }
  failed.hidden = hidden;
}

function show(now) {
  const progress = now.progress;
  const busy = now.working === "train" || ["training", "judging"].includes(progress.phase);
  if (busy) watched = true;
  plan.hidden = busy;
  going.hidden = !busy;
  if (busy) {
    document.getElementById("words").textContent = words(progress);
    document.getElementById("left").textContent = left(progress);
    const bar = document.getElementById("bar");
    if (progress.phase === "training") bar.value = progress.share; else bar.removeAttribute("value");
    draw(progress.curve);
    document.getElementById("keep").disabled = progress.phase !== "training" || progress.stopping;
    const elsewhere = now.working !== "train";
    document.getElementById("pause").hidden = elsewhere;
    document.getElementById("may-close").textContent = t(elsewhere ? "studio.begun_elsewhere" : "studio.may_close");
  }
  document.getElementById("doing").textContent = now.doing;
  ended.hidden = busy || progress.phase !== "done" || !watched;
  document.getElementById("begin")?.classList.toggle("primary", ended.hidden);
  if (!ended.hidden) {
    document.getElementById("result").textContent =
      t("studio.right_of", { right: progress.right, judged: progress.judged });
    document.getElementById("meaning").textContent = meaning(progress);
  }
  showFailure(busy ? null : progress);
  if (progress.phase === "stopped" && !busy && watched) location.reload();
}

plan.addEventListener("submit", event => {
  event.preventDefault();
  start({ seconds: seconds() });
});
document.getElementById("minutes")?.addEventListener("focus", () => {
  plan.querySelector("input[value=other]").checked = true;
});
document.getElementById("resume")?.addEventListener("click", () => start({ resume: state.progress.run }));
document.getElementById("keep").addEventListener("click", async () => {
  if (await trying(() => tell("/stop", { keep: true }))) refresh();
});
document.getElementById("pause").addEventListener("click", () => trying(() => tell("/stop")));

follow(show, 1);
