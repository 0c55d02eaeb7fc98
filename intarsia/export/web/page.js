// The page: what is chosen, what becomes of it, and what is said of it.
"use strict";

const about = JSON.parse(document.getElementById("about").textContent);
const by = (id) => document.getElementById(id);
const percent = (share) => (share > 0 && share < 0.0005 ? "< 0.1" : (100 * share).toFixed(1));

const network = new Network(doing);
const stage = new Stage(by("stage"), told);
const hidden = new Set(); // classes that are not drawn
let ready = null; // a promise: the network is loaded
let shown = null; // { name, picture, found, text }
let wanted = 0; // number of the last picture that was asked for
let stream = null; // of the camera
let before = 60; // opacity to which a second press of space goes back

// --- Words ---

function doing(text, share) {
  by("working").hidden = !text;
  by("doing").textContent = text ?? "";
  if (share === null || share === undefined) by("progress").removeAttribute("value");
  else by("progress").value = share;
}

function trouble(text) {
  by("trouble").textContent = text;
  by("trouble").hidden = !text;
}

function hint(text) {
  by("hint").textContent = text;
  by("hint").hidden = !text;
}

function told(at) {
  const found = shown?.found;
  for (const row of by("legend").rows) row.classList.remove("here");
  by("pixel").textContent = "";
  if (!at || !found) return;
  const place = at.y * found.width + at.x;
  const value = found.label[place];
  const sure = found.confidence ? `, ${percent(found.confidence[place])} %` : "";
  by("pixel").textContent = `${about.classes[value]}${sure}  (${at.x}, ${at.y})`;
  by("legend").rows[value]?.classList.add("here");
}

// --- Legend ---

function legend() {
  const rows = about.classes.map((name, value) => {
    const row = document.createElement("tr");
    const head = Object.assign(document.createElement("th"), { scope: "row" });
    const button = Object.assign(document.createElement("button"), { type: "button", title: "draw it or not" });
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.background = `rgb(${about.palette[value].join()})`;
    button.append(swatch, name);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      if (!hidden.delete(value)) hidden.add(value);
      button.setAttribute("aria-pressed", String(!hidden.has(value)));
      row.classList.toggle("off", hidden.has(value));
      if (shown?.found) stage.paint(shown.found, about.palette, hidden);
    });
    head.append(button);
    row.append(head, ...[0, 1].map(() => Object.assign(document.createElement("td"), { className: "number" })));
    return row;
  });
  by("legend").replaceChildren(...rows);
}

// Share and area of each class, those that the picture shows first, by their share.
function counted(found) {
  const counts = new Float64Array(about.classes.length);
  if (found) for (const value of found.label) counts[value]++;
  const rows = [...by("legend").rows];
  rows.forEach((row, value) => {
    const count = counts[value];
    row.classList.toggle("absent", Boolean(found) && !count);
    row.cells[1].textContent = found && count ? percent(count / found.label.length) : "";
    row.cells[2].textContent = found && count ? count.toLocaleString("en") : "";
  });
}

// --- A picture ---

// Load the network once; again if it failed, or another way of computing is asked for.
function opened() {
  ready ??= network.open(by("backend").value).then(async (note) => {
    const late = await checked();
    if (note || late) hint([note, late].filter(Boolean).join(" "));
  });
  return ready.catch((error) => {
    ready = null;
    throw error;
  });
}

// Graphics cards compute in their own ways: whether the labels are those of the exported file is seen on a drawn image.
async function checked() {
  if (network.backend !== "webgpu") return "";
  doing("Checking the graphics card", null);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const pixels = bytes(about.check.image);
  const label = new (about.classes.length > 256 ? Int32Array : Uint8Array)(bytes(about.check.label).buffer);
  const { height, width, at_least: least } = about.check;
  let share = 0;
  try {
    const found = await network.ask({ type: "run", picture: { height, width, data: pixels }, shrink: 1 });
    share = label.reduce((sum, value, at) => sum + (found.label[at] === value), 0) / label.length;
  } catch (error) {
    if (error.stopped) throw error;
  }
  if (share >= least) return "";
  await network.start("wasm");
  return `With WebGPU ${percent(share)} % of the labels are the exported file's here: the processor computes.`;
}

// Segment a picture and show it; live: a frame of the camera, whose place stays.
async function segment(name, picture, live = false) {
  const number = ++wanted;
  if (!live) {
    stage.show(picture.canvas, false);
    shown = { name, picture, found: null };
    for (const id of SAVES) by(id).disabled = true;
    counted(null);
    by("name").textContent = name;
    by("facts").textContent = `${picture.width} × ${picture.height}`;
  }
  await opened();
  if (number !== wanted) return;
  if (!live) doing("Computing", null);
  const found = await network.run(picture, Number(by("most").value));
  if (number !== wanted) return;
  shown = { name, picture, found };
  if (live) stage.show(picture.canvas, true); // with its labels, and not with those of the frame before
  stage.paint(found, about.palette, hidden);
  counted(found);
  told(stage.read);
  for (const id of SAVES) by(id).disabled = false;
  by("name").textContent = name;
  const computed = found.shrink > 1 ? [`computed at ${smallerSize(found)}`] : [];
  by("facts").textContent = [
    `${found.width} × ${found.height}`, ...computed, `${seconds(found.seconds)} with ${network.words}`,
  ].join(" · ");
  if (found.forced) hint("The picture is too large for the memory here: computed smaller, its labels were enlarged.");
  else if (picture.note) hint(picture.note);
  document.documentElement.dataset.shown = number;
}

const smallerSize = ({ width, height, shrink }) => `${Math.round(width / shrink)} × ${Math.round(height / shrink)}`;
const seconds = (value) => (value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`);

async function openFile(file) {
  stopCamera();
  trouble("");
  hint("");
  doing("Reading the picture", null);
  await attempt(async () => {
    const picture = await decoded(file);
    const name = file.name || "pasted";
    await segment(name, picture);
  });
}

async function attempt(work) {
  try {
    await work();
    doing(null);
  } catch (error) {
    if (error.stopped) return;
    doing(null);
    const memory = error.memory ? " There is not enough memory; a smaller size may do." : "";
    trouble(`${capital(error.message)}.${memory}`);
    document.documentElement.dataset.failed = wanted;
  }
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/\.$/, "");

// --- Camera ---

async function startCamera() {
  trouble("");
  hint("");
  await attempt(async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    } catch (error) {
      const refused = error.name === "NotAllowedError";
      throw new Error(refused ? "the camera was not allowed" : `no camera can be used (${error.message})`);
    }
    const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
    await video.play();
    cameraButtons(true);
    for (const mine = stream; stream === mine; ) {
      await segment("camera", frame(video), true);
      doing(null);
      await new Promise((next) => setTimeout(next));
    }
  });
  stopCamera();
}

// End the camera; what it saw last stays.
function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  cameraButtons(false);
}

function cameraButtons(on) {
  by("camera").hidden = on || !navigator.mediaDevices?.getUserMedia;
  by("freeze").hidden = !on;
}

// --- Files ---

const SAVES = ["save-mask", "save-colour", "save-overlay"];
const stem = () => shown.name.replace(/\.[^.]*$/, "");

async function saveMask() {
  save(await maskFile(shown.found, about.classes.length), `${stem()}_mask.png`);
}

function savePainted(ending, opacity) {
  const { picture, found } = shown;
  const canvas = sheet(found.width, found.height);
  const brush = canvas.getContext("2d");
  if (opacity < 1) brush.drawImage(picture.canvas, 0, 0);
  brush.globalAlpha = opacity;
  brush.drawImage(stage.overlay, 0, 0);
  canvas.toBlob((blob) => {
    if (blob) save(blob, `${stem()}_${ending}.png`);
    else trouble("The picture is too large to be saved.");
  });
}

// --- Hands ---

function opacity(value) {
  by("opacity").value = value;
  stage.fade(value / 100);
}

const KEYS = {
  o: () => by("file").click(),
  "+": () => stage.larger(),
  "=": () => stage.larger(),
  "-": () => stage.smaller(),
  f: () => stage.fit(),
  "[": () => opacity(Number(by("opacity").value) - 10),
  "]": () => opacity(Number(by("opacity").value) + 10),
  " ": () => {
    const now = Number(by("opacity").value);
    if (now) before = now;
    opacity(now ? 0 : before);
  },
};

function listen() {
  const on = (id, kind, act) => by(id).addEventListener(kind, act);
  on("choose", "click", () => by("file").click());
  on("empty", "click", () => by("file").click());
  on("file", "change", () => {
    const [file] = by("file").files;
    by("file").value = "";
    if (file) openFile(file);
  });
  on("camera", "click", startCamera);
  on("freeze", "click", stopCamera);
  on("opacity", "input", () => opacity(Number(by("opacity").value)));
  on("most", "change", again);
  on("backend", "change", () => {
    network.stop();
    ready = null;
    again();
  });
  on("stop", "click", () => {
    wanted++;
    network.stop();
    ready = null;
    stopCamera();
    doing(null);
  });
  on("in", "click", () => stage.larger());
  on("out", "click", () => stage.smaller());
  on("fit", "click", () => stage.fit());
  on("save-mask", "click", () => attempt(saveMask));
  on("save-colour", "click", () => savePainted("color", 1));
  on("save-overlay", "click", () => savePainted("overlay", Number(by("opacity").value) / 100));
  document.addEventListener("paste", (event) => {
    const [file] = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
    if (file) openFile(file);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, dropped);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("button, input, select, summary")) return; // which have keys of their own
    if (!KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
}

function dropped(event) {
  event.preventDefault();
  by("stage").classList.toggle("over", event.type === "dragover");
  const file = event.type === "drop" ? event.dataTransfer.files[0] : null;
  if (file) openFile(file);
}

// The picture in sight once more, with what was chosen meanwhile.
function again() {
  if (!shown || stream) return;
  trouble("");
  hint("");
  attempt(() => segment(shown.name, shown.picture));
}

// --- Begin ---

legend();
listen();
opacity(60);
cameraButtons(false);
by("backend-label").hidden = !about.runtimes.webgpu || !navigator.gpu;
by("about-text").textContent = about.text;
if (location.protocol === "file:" && !about.embedded) {
  by("choose").disabled = true;
  trouble(
    "Browsers do not let a page that is opened from the disk read the files beside it. Put this folder on a web " +
      "server, or export once more with --single-file, which makes one file that can be opened so."
  );
} else {
  attempt(opened);
}
