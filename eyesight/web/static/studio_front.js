"use strict";
const begin = document.getElementById("begin");

// A file that is not an image has no cover.
for (const cover of document.querySelectorAll(".covers img")) {
  const hide = () => { cover.style.visibility = "hidden"; };
  if (cover.complete && !cover.naturalWidth && cover.currentSrc) hide();
  cover.addEventListener("error", hide);
}

begin.addEventListener("submit", async event => {
  event.preventDefault();
  const title = document.getElementById("title").value;
  const made = await trying(() => tell("", { title }), document.getElementById("refused"));
  if (made) location.href = made.address;
});
