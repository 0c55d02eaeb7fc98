// The classes: their colours, what an image shows of them, and other names and colours for them.

import { json, send } from "./api.js";
import { members } from "./stage.js";

const by = (id) => document.getElementById(id);
const percent = (share) => (share === null || share === undefined ? "" : (100 * share).toFixed(1));

const hex = (colour) => `#${colour.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

export class Legend {
  // about: what the server says of everything. changed() is told that other classes or colours are to be drawn,
  // renamed() that the names are others.
  constructor(about, { changed, renamed }) {
    Object.assign(this, { about, changed, renamed, shown: null });
    this.hidden = new Set(); // label values that are not drawn
  }

  draw(shown) {
    this.shown = shown;
    if (!by("editing").hidden) return;
    const maps = [shown?.truth, ...(shown?.predictions ?? [])];
    const seen = maps.map((found) => shares(this.about, found)).filter(Boolean);
    const numbers = this.columns();
    const short = (title) => (title.length > 16 ? `…${title.slice(-15)}` : title); // runs differ at their ends
    const head = line(numbers.length > 1 ? "IoU % of" : "", numbers.map(({ title }) => short(title)));
    numbers.forEach(({ title }, at) => (head.children[at + 1].title = title));
    by("columns").replaceChildren(head);
    const rows = this.about.classes.map((name, value) => {
      const row = line("", numbers.map(({ values }) => percent(values[value])));
      row.classList.toggle("absent", !seen.some((found) => found[value]));
      row.classList.toggle("hidden", this.hidden.has(value));
      const button = document.createElement("button");
      button.type = "button";
      button.title = "show or hide this class";
      button.setAttribute("aria-pressed", !this.hidden.has(value));
      button.append(swatch(this.about.palette[value]), name);
      button.addEventListener("click", () => {
        this.hidden.has(value) ? this.hidden.delete(value) : this.hidden.add(value);
        this.changed();
      });
      row.firstElementChild.append(button);
      return row;
    });
    if (numbers.some(({ all }) => all !== null)) {
      const all = line("mean", numbers.map((column) => percent(column.all)));
      all.className = "all";
      rows.unshift(all);
    }
    by("legend").replaceChildren(...rows);
  }

  // What stands beside the classes: for each run their IoU in the image, or their share of it while there is none.
  columns() {
    const { truth, predictions, scores } = this.shown ?? { predictions: [] };
    if (scores?.iou.some((iou) => iou !== null)) {
      const headings = this.about.runs.length === 1 ? ["IoU %"] : this.about.runs;
      return headings.map((title, run) => ({ title, all: scores.iou[run], values: scores.class_iou[run] }));
    }
    const found = shares(this.about, truth ?? predictions[0]);
    return found ? [{ title: "% of image", all: null, values: [...found].map((share) => share || null) }] : [];
  }

  edit() {
    const { about } = this;
    const stored = { classes: [...about.classes], palette: about.palette.map((colour) => [...colour]) };
    const rows = about.classes.map((name, value) => {
      const row = document.createElement("tr");
      const cell = document.createElement("td");
      cell.colSpan = 3;
      if (value < about.first_editable) cell.append(swatch(about.palette[value]), name);
      else {
        const [colour, text] = [document.createElement("input"), document.createElement("input")];
        Object.assign(colour, { type: "color", value: hex(about.palette[value]), ariaLabel: `colour of ${name}` });
        Object.assign(text, { type: "text", value: name, maxLength: 200, ariaLabel: `name of ${name}` });
        colour.addEventListener("input", () => {
          about.palette[value] = rgb(colour.value);
          this.changed();
        });
        text.addEventListener("input", () => (about.classes[value] = text.value));
        const both = document.createElement("div");
        both.className = "edited";
        both.append(colour, text);
        cell.append(both);
      }
      row.append(cell);
      return row;
    });
    by("columns").replaceChildren();
    by("legend").replaceChildren(...rows);
    by("editing").hidden = false;
    by("edit").hidden = true;
    by("saved").textContent = "";
    const close = () => {
      by("editing").hidden = true;
      by("edit").hidden = false;
      this.renamed();
      this.changed();
    };
    by("cancel").onclick = () => {
      Object.assign(about, stored);
      close();
    };
    by("editing").onsubmit = async (event) => {
      event.preventDefault();
      const from = about.first_editable;
      try {
        const saved = await send("classes", { classes: about.classes.slice(from), palette: about.palette.slice(from) });
        Object.assign(about, await json("about"));
        by("saved").textContent = `Saved. The old file is ${saved.kept}`;
        close();
      } catch (error) {
        by("saved").textContent = error.message;
      }
    };
  }
}

// The share of each class in a map; of sets they may add up to more than 1.
function shares(about, found) {
  if (!found) return null;
  if (!found.shares) {
    const { values, classes } = about;
    const counts = new Float64Array(values + 1);
    for (const value of found.label) counts[Math.min(value, values)]++;
    found.shares = new Float64Array(classes.length);
    counts.slice(0, values).forEach((count, value) => {
      if (count) for (const k of members(about, value)) found.shares[k] += count / found.label.length;
    });
  }
  return found.shares;
}

function line(name, numbers) {
  const row = document.createElement("tr");
  const heading = document.createElement("th");
  heading.textContent = name;
  row.append(heading);
  for (const number of numbers) {
    const cell = document.createElement("td");
    cell.className = "number";
    cell.textContent = number;
    row.append(cell);
  }
  return row;
}

function swatch([red, green, blue]) {
  const mark = document.createElement("i");
  mark.className = "swatch";
  mark.style.background = `rgb(${red}, ${green}, ${blue})`;
  return mark;
}
