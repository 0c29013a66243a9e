"use strict";
const sound = document.getElementById("sound");
let sounds = null;

function hush(quiet) {
  sound.setAttribute("aria-pressed", String(!quiet));
  localStorage.setItem("quiet", quiet ? "yes" : "");
}

hush(localStorage.getItem("quiet"));
sound.addEventListener("click", () => { hush(!localStorage.getItem("quiet")); beep(); });

function beep() {
  if (localStorage.getItem("quiet") || !window.AudioContext) return;
  sounds = sounds || new AudioContext();
  const tone = sounds.createOscillator(), loudness = sounds.createGain(), now = sounds.currentTime;
  tone.frequency.value = 660;
  loudness.gain.setValueAtTime(0, now);
  loudness.gain.linearRampToValueAtTime(0.06, now + 0.02);
  loudness.gain.exponentialRampToValueAtTime(0.0001, now + 0.25);
  tone.connect(loudness).connect(sounds.destination);
  tone.start(now);
  tone.stop(now + 0.26);
}
