"use strict";
const begin = document.getElementById("begin");

begin.addEventListener("submit", async event => {
  event.preventDefault();
  const title = document.getElementById("title").value;
  const made = await trying(() => tell("", { title }), document.getElementById("refused"));
  if (made) location.href = made.address;
});
