// The page: what is chosen, what is shown of it, and the classes.

import { json, map } from "./api.js";
import { Legend } from "./legend.js";
import { List } from "./list.js";
import { Stage, classes, confidences, differences, errors, members } from "./stage.js";

const POLL = 1000; // milliseconds between questions how far the survey is
const TYPING = 250; // milliseconds without a key after which a filter is taken
const LAYERS = [
  ["image", "Image", "0"],
  ["truth", "Truth", "1"],
  ["prediction", "Prediction", "2"],
  ["errors", "Errors", "3"],
  ["confidence", "Confidence", "4"],
  ["differences", "Differences", "5"],
];

const by = (id) => document.getElementById(id);
const percent = (share, digits = 1) => (share === null || share === undefined ? "" : (100 * share).toFixed(digits));

let about; // what the server says of everything
let legend;
let shown = null; // the image in sight: { row, sample, truth, predictions, scores }
let layer = "image";
let before = "truth"; // the layer to which a second press of space goes back
let asking = null; // aborts what is asked for the last image
let measuring = false;

const list = new List(by("list"), {
  query,
  chosen: (row) => show(row),
  counted: (total) => {
    const all = about.count;
    by("count").textContent = total === all ? `${all.toLocaleString("en")} images` :
      `${total.toLocaleString("en")} of ${all.toLocaleString("en")} images`;
  },
});
const stage = new Stage(by("stage"), { pixel: told, zoomed: (scale) => (by("zoom").textContent = `${percent(scale, 0)} %`) });

// --- One image ---

async function show(row) {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const current = { row, sample: null, truth: null, predictions: [], scores: null, pending: about.runs.length };
  shown = current;
  trouble("");
  by("name").textContent = row.name;
  by("size").textContent = "";
  by("pixel").textContent = "";
  history.replaceState(null, "", `#${row.i}`);
  try {
    current.sample = await json("sample", { i: row.i });
    if (signal.aborted) return;
    stage.picture(`image?i=${row.i}`, current.sample);
    by("size").textContent = `${current.sample.width} × ${current.sample.height}`;
    by("name").title = [current.sample.image, current.sample.label].filter(Boolean).join("\n");
    if (current.sample.labelled) current.truth = await map("truth", { i: row.i }, signal);
    draw();
    for (let run = 0; run < about.runs.length; run++) {
      current.predictions[run] = await map("prediction", { i: row.i, run }, signal);
      current.pending--;
      draw();
    }
    current.scores = await json("scores", { i: row.i });
    if (signal.aborted) return;
    const run = Number(by("run").value);
    const value = Number(by("class").value);
    const score = value < 0 ? current.scores.iou[run] : current.scores.class_iou[run]?.[value];
    const disagreement = current.scores.class_disagreement[value] ?? current.scores.disagreement;
    list.update(row.i, { score: score ?? null, disagreement, error: null });
    draw();
    document.documentElement.dataset.shown = row.i;
    if (about.runs.length) ahead();
  } catch (error) {
    if (signal.aborted) return;
    current.pending = 0;
    trouble(error.message);
    draw();
  }
}

// The prediction of the next image, so that it is there when it is asked for.
async function ahead() {
  const next = list.place >= 0 && list.place + 1 < list.total ? await list.row(list.place + 1) : null;
  if (next) json("scores", { i: next.i }).catch(() => {});
}

function available(name) {
  if (name === "image") return true;
  if (name === "truth") return Boolean(shown?.truth) || !shown?.sample;
  if (name === "errors") return about.runs.length > 0 && (Boolean(shown?.truth) || !shown?.sample);
  return name === "differences" ? about.runs.length === 2 : about.runs.length > 0;
}

function draw() {
  for (const button of by("layers").children) {
    button.setAttribute("aria-pressed", button.dataset.layer === layer);
    button.disabled = !available(button.dataset.layer);
  }
  stage.layers(panes());
  legend.draw(shown);
}

function panes() {
  const { truth, predictions } = shown ?? { predictions: [] };
  const { runs } = about;
  const { hidden } = legend;
  const [one, other] = predictions;
  if (layer === "differences" && runs.length === 2) {
    return [{ title: `where ${runs[0]} and ${runs[1]} differ`, layer: one && other ? differences(one, other, about, hidden) : null }];
  }
  if (layer === "truth") return [{ title: truth ? "truth" : "", layer: truth ? classes(truth, about, hidden) : null }];
  if (layer === "image" || !runs.length) return [{ title: "", layer: null }];
  return runs.map((run, number) => {
    const said = predictions[number];
    const working = shown?.pending ? ", working ..." : "";
    const title = `${layer} of ${run}${said ? "" : working}`;
    if (!said || (layer === "errors" && !truth)) return { title, layer: null };
    if (layer === "errors") return { title, layer: errors(truth, said, about, hidden) };
    return { title, layer: layer === "confidence" ? confidences(said) : classes(said, about, hidden) };
  });
}

function choose(name) {
  if (!available(name)) return;
  if (name !== "image") before = name;
  layer = name;
  draw();
}

function told(at) {
  const { sample, truth, predictions } = shown ?? {};
  if (!at || !sample) {
    by("pixel").textContent = "";
    return;
  }
  const value = ({ width, height, label }, values = label) =>
    values[Math.floor((at.y * height) / sample.height) * width + Math.floor((at.x * width) / sample.width)];
  const name = (number) => {
    if (number >= about.values) return "ignored";
    return members(about, number).map((k) => about.classes[k]).join(" + ") || "no class";
  };
  const words = [`${at.x}, ${at.y}`];
  if (truth) words.push(`truth ${name(value(truth))}`);
  predictions.forEach((said, run) => {
    const sure = percent(value(said, said.confidence) / 255, 0);
    words.push(`${about.runs[run]} ${name(value(said))} ${sure} %`);
  });
  by("pixel").textContent = words.join("  ·  ");
}

// --- The choice of images ---

function query() {
  const share = (id) => Math.max(0, Math.min(1, (Number(by(id).value) || 0) / 100));
  return {
    text: by("text").value,
    class: by("class").value || -1,
    place: by("place").value,
    run: by("run").value || 0,
    low: share("low"),
    high: by("high").value === "" ? 1 : share("high"),
    least: share("least"),
    sort: by("sort").value || "file",
    descending: by("descending").getAttribute("aria-pressed") === "true" ? 1 : 0,
  };
}

// Whether the list depends on what was measured.
function measured() {
  const { class: value, low, high, least, sort } = query();
  return Number(value) >= 0 || low > 0 || high < 1 || least > 0 || !["file", "name"].includes(sort);
}

async function changed() {
  by("place").disabled = Number(by("class").value) < 0;
  if (measured()) survey(await json("survey", { run: 1 }));
  await list.reset().catch((error) => trouble(error.message));
}

function survey({ done, total, running, failed }) {
  by("survey").hidden = false;
  by("surveyed").max = total;
  by("surveyed").value = done;
  const broken = failed ? `, ${failed.toLocaleString("en")} cannot be read` : "";
  by("surveyed-text").textContent = `${done.toLocaleString("en")} of ${total.toLocaleString("en")} measured${broken}`;
  by("measure").textContent = running ? "Stop" : "Measure all";
  by("measure").hidden = done === total;
  by("measure").dataset.run = running ? 0 : 1;
  if (running && !measuring) follow();
}

async function follow() {
  measuring = true;
  for (let running = true; running; ) {
    await new Promise((resolve) => setTimeout(resolve, POLL));
    const state = await json("survey").catch(() => null);
    if (!state) break;
    running = state.running;
    survey(state);
    if (measured()) await list.reset({ stay: true }).catch(() => {});
  }
  measuring = false;
}

function options() {
  const chosen = by("class").value || "-1";
  const entries = [["-1", "all"], ...about.classes.map((name, value) => [String(value), name])];
  by("class").replaceChildren(...entries.map(([value, name]) => new Option(name, value)));
  by("class").value = chosen;
}

function trouble(text) {
  by("trouble").textContent = text;
  by("trouble").hidden = !text;
}

// --- Keys ---

const KEYS = {
  ArrowDown: () => list.step(1),
  ArrowRight: () => list.step(1),
  ArrowUp: () => list.step(-1),
  ArrowLeft: () => list.step(-1),
  Home: () => list.choose(0),
  End: () => list.choose(list.total - 1),
  PageDown: () => list.step(10),
  PageUp: () => list.step(-10),
  "+": () => stage.larger(),
  "=": () => stage.larger(),
  "-": () => stage.smaller(),
  f: () => stage.fit(),
  "[": () => fade(Number(by("opacity").value) - 10),
  "]": () => fade(Number(by("opacity").value) + 10),
  " ": () => choose(layer === "image" ? before : "image"),
};

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=range]), select, textarea");
  if (typing || (event.key === " " && event.target.closest("button"))) return;
  const wanted = LAYERS.find(([, , key]) => key === event.key);
  const action = wanted ? () => choose(wanted[0]) : KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function fade(value) {
  const opacity = Math.max(0, Math.min(100, value));
  by("opacity").value = opacity;
  stage.fade(opacity / 100);
}

// --- The beginning ---

function build() {
  document.title = `${about.title} · Intarsia`;
  by("title").textContent = about.title;
  by("note").textContent = about.note;
  options();
  const judged = about.runs.length > 0;
  const two = about.runs.length === 2;
  for (const id of ["low-label", "high-label", "least-label"]) by(id).hidden = !judged;
  by("run-label").hidden = !two;
  by("run").replaceChildren(...about.runs.map((name, number) => new Option(name, number)));
  by("least-name").textContent = two ? "Runs differ in, at least %" : "Wrong pixels, at least %";
  if (!judged) by("place").replaceChildren(new Option("truth", "truth"));
  by("place").disabled = true;
  const sorts = [["file", "as listed"], ["name", "name"]];
  if (judged) sorts.push(["score", "IoU"], ["disagreement", two ? "difference of the runs" : "wrong pixels"], ["confidence", "confidence"]);
  by("sort").replaceChildren(...sorts.map(([value, name]) => new Option(name, value)));
  const layers = LAYERS.filter(([name]) => available(name));
  by("layers").replaceChildren(...layers.map(([name, words, key]) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: words, title: `key ${key}` });
    button.dataset.layer = name;
    button.addEventListener("click", () => choose(name));
    return button;
  }));
  by("keys").textContent = layers.length > 2 ? `1 – ${layers.at(-1)[2]}` : "1";
  layer = before = judged ? "prediction" : "truth";
  by("edit").hidden = !about.file;
  by("file").textContent = about.file ?? "";
}

function listen() {
  let waiting;
  by("query").addEventListener("submit", (event) => event.preventDefault());
  by("query").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(changed, TYPING);
  });
  by("descending").addEventListener("click", ({ currentTarget: button }) => {
    const down = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", down);
    button.textContent = down ? "↑" : "↓";
    changed();
  });
  by("measure").addEventListener("click", async ({ currentTarget }) => survey(await json("survey", { run: currentTarget.dataset.run })));
  by("opacity").addEventListener("input", ({ currentTarget }) => fade(Number(currentTarget.value)));
  by("in").addEventListener("click", () => stage.larger());
  by("out").addEventListener("click", () => stage.smaller());
  by("fit").addEventListener("click", () => stage.fit());
  by("edit").addEventListener("click", () => legend.edit());
  document.addEventListener("keydown", keyed);
}

async function begin() {
  about = await json("about");
  legend = new Legend(about, { changed: draw, renamed: options });
  build();
  listen();
  survey(await json("survey"));
  await list.reset();
  const wanted = Number(location.hash.slice(1) || -1);
  const { place } = wanted >= 0 && wanted < about.count ? await json("place", { ...query(), i: wanted }) : { place: 0 };
  await list.choose(place);
  document.documentElement.dataset.script = "ran";
}

begin().catch((error) => trouble(error.message));
