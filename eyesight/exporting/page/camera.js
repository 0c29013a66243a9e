"use strict";
// The camera: a live answer to what it sees, as fast as the device can, until it is stopped.

const camera = { stream: null };

async function startCamera(video, seen) {
  camera.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  video.srcObject = camera.stream;
  await video.play();
  const stream = camera.stream;
  while (camera.stream === stream) {
    if (video.videoWidth) await seen(fromDrawable(video, video.videoWidth, video.videoHeight));
    await new Promise((next) => setTimeout(next, 60));
  }
}

function stopCamera(video) {
  if (camera.stream) camera.stream.getTracks().forEach((track) => track.stop());
  camera.stream = null;
  video.srcObject = null;
}
