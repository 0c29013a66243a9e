"use strict";
// The camera of a desktop or laptop; a phone over the local network has its own camera dialogue.
const hasCamera = Boolean(navigator.mediaDevices?.getUserMedia);

async function openCamera(video) {
  const wanted = { video: { facingMode: "environment", width: { ideal: 960 }, height: { ideal: 720 } } };
  video.srcObject = await navigator.mediaDevices.getUserMedia(wanted);
  await video.play();
}

function closeCamera(video) {
  for (const track of video.srcObject?.getTracks() || []) track.stop();
  video.srcObject = null;
}

function snapshot(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise(done => canvas.toBlob(done, "image/jpeg", 0.92));
}

function showCameraButtons(root, button) {
  const touch = matchMedia("(pointer: coarse)").matches;
  const shoot = root.querySelector(".shoot");
  button.hidden = !hasCamera;
  shoot.hidden = hasCamera && !touch;
}
