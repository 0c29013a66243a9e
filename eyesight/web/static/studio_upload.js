"use strict";
// A queue of images on their way to the server, three at a time.
const waiting = [];
const failed = [];
const uploading = document.getElementById("uploading");
const brokenList = document.getElementById("broken");
const AT_ONCE = 3;
let sending = 0;
let total = 0;
let done = 0;
let added = 0;
let again = 0;
let elsewhere = [];

function send(file, to, burst = "") {
  waiting.push({ file, to, burst });
  total += 1;
  pump();
}

function pump() {
  while (sending < AT_ONCE && waiting.length) {
    sending += 1;
    sendOne(waiting.shift()).finally(() => {
      sending -= 1;
      done += 1;
      if (waiting.length || sending) pump(); else finished();
    });
  }
  showUploading();
}

async function sendOne({ file, to, burst }) {
  const query = new URLSearchParams({ to, ...(burst && { burst }) });
  try {
    const answer = await answerOf(await fetch(`${here}/pictures?${query}`, { method: "POST", body: file }));
    if (answer.state === "added") added += 1;
    else if (answer.state === "again") again += 1;
    else elsewhere.push(`${file.name || ""} (${answer.elsewhere})`);
  } catch (error) {
    fail(file.name || t("studio.photo"), explain(error));
  }
}

function fail(name, reason) {
  failed.push(name);
  brokenList.hidden = false;
  brokenList.querySelector("summary").textContent = t("studio.broken", { n: failed.length });
  brokenList.open = failed.length <= 5;
  if (failed.length > 500) return;
  brokenList.querySelector("ul").append(element("li", `${name}: ${reason}`));
}

function showUploading() {
  uploading.hidden = !(sending || waiting.length);
  const bar = uploading.querySelector("progress");
  bar.max = total;
  bar.value = done;
  uploading.querySelector("span").textContent = `${done.toLocaleString()} / ${total.toLocaleString()}`;
}

function finished() {
  showUploading();
  const parts = [t("studio.added", { n: added.toLocaleString() })];
  if (again) parts.push(t("studio.again", { n: again.toLocaleString() }));
  if (elsewhere.length) parts.push(t("studio.elsewhere", { n: elsewhere.length, name: elsewhere[0] }));
  if (failed.length) parts.push(t("studio.broken", { n: failed.length }));
  say(parts.join(" "));
  total = done = added = again = 0;
  elsewhere = [];
  refresh();
}

document.getElementById("cancel").addEventListener("click", () => {
  total -= waiting.length;
  waiting.length = 0;
  showUploading();
});
addEventListener("beforeunload", event => { if (sending || waiting.length) event.preventDefault(); });
