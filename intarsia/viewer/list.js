// A list of any length, of which only the rows in sight exist, and are asked for.

import { json } from "./api.js";

const ROW = 62; // pixels, as in view.css
const PAGE = 100; // rows that are asked for together
const MARGIN = 4; // rows beyond what is in sight
const SETTLED = 120; // milliseconds without scrolling after which pictures are asked for

export class List {
  // box: an element. query(): what the list is asked with. chosen(row, place), counted(total): are told.
  constructor(box, { query, chosen, counted }) {
    Object.assign(this, { box, query, chosen, counted, place: -1, index: -1, total: 0 });
    this.inner = document.createElement("div");
    this.inner.className = "rows";
    box.append(this.inner);
    this.rows = new Map(); // place -> element
    this.pages = new Map(); // number -> rows, or a promise of them
    this.version = 0;
    box.addEventListener("scroll", () => this.paint());
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[data-place]");
      if (row) this.choose(Number(row.dataset.place));
    });
    new ResizeObserver(() => this.paint()).observe(box);
  }

  // Another query, or new answers to it. The chosen image stays chosen, wherever it is now.
  async reset({ stay = false } = {}) {
    const version = ++this.version;
    const pages = new Map();
    const first = await json("rows", { ...this.query(), start: 0, count: PAGE });
    if (version !== this.version) return;
    pages.set(0, first.rows);
    this.pages = pages;
    this.total = first.total;
    this.counted(first.total);
    this.inner.style.height = `${this.total * ROW}px`;
    if (!stay) this.box.scrollTop = 0;
    this.mark(-1);
    this.paint();
    for (const [place, element] of this.rows) this.fill(element, place);
    if (this.index >= 0) {
      const found = await json("place", { ...this.query(), i: this.index });
      if (version === this.version) this.mark(found.place);
    }
  }

  async row(place) {
    const number = Math.floor(place / PAGE);
    if (!this.pages.has(number)) {
      const pages = this.pages;
      const asked = json("rows", { ...this.query(), start: number * PAGE, count: PAGE });
      pages.set(number, asked.then((found) => (pages.set(number, found.rows), found.rows)));
      asked.catch(() => pages.delete(number));
    }
    return (await this.pages.get(number))[place % PAGE];
  }

  async choose(place) {
    if (!this.total) return;
    place = Math.max(0, Math.min(this.total - 1, place));
    const row = await this.row(place);
    if (!row) return;
    this.index = row.i;
    this.mark(place);
    this.reveal(place);
    this.chosen(row, place);
  }

  step(by) {
    this.choose(this.place < 0 ? 0 : this.place + by);
  }

  mark(place) {
    this.place = place;
    for (const [at, element] of this.rows) element.setAttribute("aria-selected", at === place);
  }

  reveal(place) {
    const top = place * ROW;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.box.scrollTop = top + ROW - clientHeight;
  }

  // A row whose numbers have come to be known.
  update(index, scores) {
    for (const rows of this.pages.values()) {
      if (!Array.isArray(rows)) continue;
      const row = rows.find((one) => one.i === index);
      if (row) Object.assign(row, scores);
    }
    const element = [...this.rows.values()].find((one) => Number(one.dataset.index) === index);
    if (element) this.fill(element, Number(element.dataset.place));
  }

  paint() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - MARGIN);
    const last = Math.min(this.total, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + MARGIN);
    for (const [place, element] of this.rows) {
      if (place >= first && place < last) continue;
      element.remove();
      this.rows.delete(place);
    }
    for (let place = first; place < last; place++) {
      if (this.rows.has(place)) continue;
      const element = blank(place, place === this.place);
      this.rows.set(place, element);
      this.inner.append(element);
      this.fill(element, place);
    }
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.pictures(), SETTLED);
  }

  async fill(element, place) {
    const row = await this.row(place).catch(() => null);
    if (!row || this.rows.get(place) !== element) return;
    if (element.dataset.index !== String(row.i)) element.querySelector("img").removeAttribute("src");
    element.dataset.index = row.i;
    const cut = row.name.lastIndexOf("/") + 1;
    element.querySelector(".name").textContent = row.name.slice(cut);
    element.querySelector(".folder").textContent = row.name.slice(0, Math.max(0, cut - 1));
    element.title = row.error ?? row.name;
    const known = row.score !== null && row.score !== undefined;
    const score = element.querySelector(".score");
    score.textContent = row.error ? "cannot be read" : known ? `IoU ${(100 * row.score).toFixed(1)} %` : "";
    const bar = element.querySelector(".level");
    bar.hidden = !known;
    bar.firstElementChild.style.width = known ? `${100 * row.score}%` : "0";
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.pictures(), SETTLED);
  }

  pictures() {
    for (const element of this.rows.values()) {
      const image = element.querySelector("img");
      if (element.dataset.index !== undefined && !image.getAttribute("src")) {
        image.src = `thumbnail?i=${element.dataset.index}`;
      }
    }
  }
}

function blank(place, selected) {
  const element = document.createElement("div");
  element.className = "row";
  element.dataset.place = place;
  element.style.top = `${place * ROW}px`;
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", selected);
  const image = document.createElement("img");
  image.alt = "";
  const words = document.createElement("div");
  const [name, line, level] = ["name", "line", "level"].map((kind) => part(words, kind));
  part(line, "folder");
  part(line, "score");
  level.append(document.createElement("i"));
  level.hidden = true;
  element.append(image, words);
  name.dir = "auto";
  return element;
}

function part(parent, kind) {
  const element = document.createElement("div");
  element.className = kind;
  parent.append(element);
  return element;
}
