"use strict";
const SIDE = 100, PEN = 4, FINE = 2, COUNT = 5, STEP = 4, PAUSE = 250;
const desk = document.getElementById("desk"), codeLine = document.getElementById("code");
const collecting = document.getElementById("collecting");
const percent = share => `${(100 * share).toFixed(share < 0.995 ? 0 : 1)}\u00a0%`;

function element(name, kind, ...children) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

/* What a digit says, on a drawn box and on a found one alike. */
class Card {
  constructor(...above) {
    this.output = element("output");
    this.said = element("p", "said");
    this.seen = element("img");
    this.seen.hidden = true;
    this.root = element("div", "digit", ...above, this.output, this.said, this.seen);
    this.found = { empty: true };
  }

  show(found) {
    this.found = found;
    this.root.classList.toggle("doubt", found.sure === false);
    this.output.textContent = found.empty ? "" : found.digit;
    this.said.replaceChildren();
    if (!found.empty) {
      const other = found.top[1];
      this.said.textContent = percent(found.probability);
      if (!found.sure) this.said.append(element("br"), t("reader.or", { digit: other.class, share: percent(other.probability) }), element("br"), element("span", "warn", t("reader.check")));
    }
    if (found.empty) this.seen.removeAttribute("src"); else this.seen.src = found.seen;
    this.seen.alt = found.empty ? "" : t("reader.seen", { digit: found.digit });
    this.look();
  }

  look() {
    this.seen.hidden = this.found.empty || document.getElementById("see").getAttribute("aria-pressed") !== "true";
  }

  get words() {
    if (this.found.empty) return t("reader.empty");
    return `${this.found.digit}, ${percent(this.found.probability)}${this.found.sure ? "" : ", " + t("reader.check")}`;
  }
}

function pen(context, strokes, scale) {
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
  context.strokeStyle = context.fillStyle = "#000";
  context.lineWidth = 2 * PEN;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke) context.lineTo(...point);
    context.stroke();
  }
}

/* A box to write in: its strokes are what is kept, the canvas only shows them. */
class Box extends Card {
  constructor(number) {
    const canvas = document.createElement("canvas");
    super(canvas);
    Object.assign(this, { number, canvas, strokes: [], pointer: null, cursor: null, asked: 0 });
    canvas.width = canvas.height = SIDE * FINE;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    this.offscreen = document.createElement("canvas");
    this.offscreen.width = this.offscreen.height = SIDE * FINE;
    canvas.addEventListener("pointerdown", event => this.down(event));
    canvas.addEventListener("pointermove", event => this.move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(end, event => this.up(event));
    canvas.addEventListener("keydown", event => this.key(event));
    canvas.addEventListener("blur", () => { this.cursor = null; this.draw(); });
    if (collecting) this.root.append(this.right());
    this.show({ empty: true });
    this.draw();
  }

  right() {
    this.input = Object.assign(document.createElement("input"), { inputMode: "numeric", maxLength: 1, pattern: "[0-9]", autocomplete: "off" });
    this.input.addEventListener("focus", () => this.input.select());
    return element("label", "", t("reader.is") + " ", this.input);
  }

  place(event) {
    const frame = this.canvas.getBoundingClientRect();
    return [event.clientX - frame.left - this.canvas.clientLeft, event.clientY - frame.top - this.canvas.clientTop].map(value => value * SIDE / this.canvas.clientWidth);
  }

  down(event) {
    if (this.pointer !== null || event.button !== 0) return;
    this.pointer = event.pointerId;
    try { this.canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that is gone already */ }
    this.strokes.push([this.place(event)]);
    order.push(this);
    this.draw();
    event.preventDefault();
  }

  move(event) {
    if (event.pointerId !== this.pointer) return;
    const passed = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of passed.length ? passed : [event]) this.strokes.at(-1).push(this.place(one));
    this.draw();
    soon();
  }

  up(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    performance.mark("pen-up");
    if (automatic()) read([this], true);
  }

  key(event) {
    const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else if (by) this.walk(by, event.shiftKey);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  walk(by, drawing) {
    const from = this.cursor || [SIDE / 2, SIDE / 2], to = from.map((value, axis) => Math.min(SIDE - PEN, Math.max(PEN, value + by[axis])));
    const last = this.strokes.at(-1);
    if (drawing && last && last.at(-1).every((value, axis) => value === from[axis])) last.push(to);
    else if (drawing) { this.strokes.push([from, to]); order.push(this); }
    this.cursor = to;
    this.draw();
    if (drawing && automatic()) soon();
  }

  clear() {
    this.strokes = [];
    this.asked++;
    this.forget();
  }

  forget() {
    this.draw();
    if (!this.strokes.length) { this.asked++; this.show({ empty: true }); if (this.input) this.input.value = ""; say(); }
  }

  draw() {
    const context = this.canvas.getContext("2d");
    pen(context, this.strokes, FINE);
    if (!this.cursor) return;
    context.strokeStyle = "#c62828";
    context.lineWidth = 1;
    context.strokeRect(this.cursor[0] - PEN, this.cursor[1] - PEN, 2 * PEN, 2 * PEN);
  }

  show(found) {
    super.show(found);
    this.canvas.setAttribute("aria-label", t("reader.box", { n: this.number, said: this.words }));
    if (this.input && document.activeElement !== this.input) this.input.value = found.empty ? "" : found.digit;
  }

  picture() {
    pen(this.offscreen.getContext("2d"), this.strokes, FINE);
    // At once: toBlob waits for an idle moment, which in Chromium may be a second away.
    const bytes = atob(this.offscreen.toDataURL("image/png").split(",")[1]);
    return new Blob([Uint8Array.from(bytes, letter => letter.charCodeAt(0))], { type: "image/png" });
  }
}

const order = [];
const boxes = Array.from({ length: COUNT }, (_, place) => new Box(place + 1));
document.getElementById("boxes").append(...boxes.map(box => box.root));
const automatic = () => document.getElementById("while").checked;

function say(problem) {
  const code = boxes.map(box => box.found.empty ? "_" : box.found.digit).join("").replace(/_+$/, "");
  codeLine.className = problem ? "warn" : "";
  if (problem) codeLine.textContent = problem;
  else codeLine.replaceChildren(...code ? [t("reader.code") + " ", element("b", "", code)] : []);
}

async function ask(path, body) {
  let response;
  try { response = await fetch(path, { method: "POST", body }); } catch { throw Error(t("problem.unreachable")); }
  const found = await response.json();
  if (!response.ok) throw Error([found.error, found.hint].filter(Boolean).join(": "));
  return found;
}

function form(some) {
  const made = new FormData();
  for (const box of some) made.append("picture", box.picture(), "box.png");
  return made;
}

/* An answer that has been overtaken by a later question about its box is dropped. */
async function read(some, timed = false) {
  const written = some.filter(box => box.strokes.length), mine = written.map(box => ++box.asked);
  if (!written.length) return say();
  try {
    const found = await ask("/api/reader/boxes", form(written));
    written.forEach((box, place) => { if (box.asked === mine[place]) box.show(found.digits[place]); });
    say();
    if (timed) performance.measure("pen-up to digits", "pen-up");
  } catch (problem) { say(problem.message); }
}

let waiting = 0;
function soon() {
  if (waiting || !automatic()) return;
  waiting = setTimeout(() => { waiting = 0; const drawn = order.at(-1); if (drawn) read([drawn]); }, PAUSE);
}

function undo() {
  const last = order.pop();
  if (!last) return;
  if (!last.strokes.length) return undo();
  last.strokes.pop();
  last.forget();
  if (last.strokes.length && automatic()) read([last]);
}

function toggle(button) {
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
}

const DO = {
  recognise: () => { read(boxes); beep(); },
  erase: () => { order.length = 0; boxes.forEach(box => box.clear()); },
  undo,
  see: () => { toggle(document.getElementById("see")); document.dispatchEvent(new Event("see")); },
  sound: () => sound.click(),
  quit: () => { location.href = document.getElementById("quit").href; },
};
const KEYS = { r: "recognise", e: "erase", u: "undo", s: "see", m: "sound", q: "quit" };
for (const name of ["recognise", "erase", "undo", "see"]) document.getElementById(name).addEventListener("click", DO[name]);
document.addEventListener("see", () => boxes.forEach(box => box.look()));
document.addEventListener("keydown", event => {
  if (desk.hidden || event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  const name = event.ctrlKey || event.metaKey ? (event.key === "z" ? "undo" : "") : document.getElementById("keys").checked && !event.altKey && KEYS[event.key.toLowerCase()];
  if (!name) return;
  event.preventDefault();
  DO[name]();
});
for (const id of ["while", "keys"]) {
  const choice = document.getElementById(id);
  choice.checked = localStorage.getItem(`reader ${id}`) !== "false";
  choice.addEventListener("change", () => localStorage.setItem(`reader ${id}`, choice.checked));
}

if (collecting) document.getElementById("save").addEventListener("click", async () => {
  const named = boxes.filter(box => box.strokes.length && /^[0-9]$/.test(box.input.value)), line = document.getElementById("samples");
  if (!named.length) { line.textContent = t("reader.nothing"); return; }
  try {
    const kept = await ask(`/api/reader/samples?digits=${named.map(box => box.input.value).join("")}`, form(named));
    line.textContent = t("reader.saved", { now: named.length, n: kept.samples });
  } catch (problem) { line.textContent = problem.message; }
});

/* Without a network that knows digits: train one, and watch it. */
const offer = document.getElementById("training"), button = document.getElementById("train"), going = document.getElementById("going");
function left(seconds) {
  if (typeof seconds !== "number") return "";
  const words = seconds < 90 ? t("reader.seconds_left", { n: Math.round(seconds) }) : t("reader.minutes_left", { n: Math.round(seconds / 60) });
  return ` · ${words}`;
}
function watch(now) {
  const failed = document.getElementById("failed"), busy = now.state === "training";
  offer.hidden = now.state === "ready";
  desk.hidden = now.state !== "ready";
  going.hidden = !busy;
  failed.hidden = !now.problem;
  failed.textContent = now.problem;
  if (button) button.disabled = busy;
  if (busy) {
    going.querySelector("progress").value = now.progress;
    going.querySelector("span").textContent = now.progress ? percent(now.progress) + left(now.seconds_left) : t("reader.preparing");
    const link = going.querySelector("a");
    link.hidden = !now.run;
    link.href = `/runs/${encodeURIComponent(now.run)}`;
    setTimeout(async () => { try { watch(await (await fetch("/api/reader")).json()); } catch { watch(now); } }, 1000);
  }
}
if (button) button.addEventListener("click", async () => { try { watch(await ask("/api/reader/train")); } catch (problem) { watch({ state: "failed", problem: problem.message }); } });
if (offer.dataset.state === "training") watch({ state: "training", progress: 0, run: "", problem: "" });
