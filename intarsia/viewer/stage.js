// One or two panes with an image and a layer over it, moved and enlarged together.

const LARGEST = 64; // screen pixels of an image's pixel
const STEP = 1.4; // of the zoom, by key and button
const WRONG = pixel(228, 30, 38);
const OTHER = pixel(230, 159, 0);
const RIGHT = pixel(20, 23, 26, 170);
const STRIPES = [pixel(148, 148, 148), pixel(112, 112, 112)];
const SURE = [[0, 34, 78], [65, 77, 107], [124, 123, 120], [188, 175, 111], [254, 232, 56]]; // cividis, from sure on

function pixel(red, green, blue, alpha = 255) {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

// Colours of confidences 0..255: bright where the network is not sure.
const CONFIDENCE = Uint32Array.from({ length: 256 }, (_, value) => {
  const at = ((255 - value) / 255) * (SURE.length - 1);
  const from = Math.min(SURE.length - 2, Math.floor(at));
  return pixel(...SURE[from].map((part, k) => Math.round(part + (at - from) * (SURE[from + 1][k] - part))));
});

export class Stage {
  // pixel(x, y) is told where the mouse is, or null; zoomed(scale) how large.
  constructor(box, { pixel: told, zoomed }) {
    Object.assign(this, { box, told, zoomed, scale: 1, x: 0, y: 0, fitted: true, opacity: 0.6 });
    this.size = { width: 1, height: 1 };
    this.panes = [];
    this.resize(1);
    box.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    box.addEventListener("pointerdown", (event) => this.grab(event));
    box.addEventListener("pointermove", (event) => this.move(event));
    box.addEventListener("pointerup", () => (this.held = null));
    box.addEventListener("pointerleave", () => this.told(null));
    box.addEventListener("dblclick", (event) => (this.fitted ? this.zoom(4, event) : this.fit()));
    new ResizeObserver(() => (this.fitted ? this.fit() : this.place())).observe(box);
  }

  resize(count) {
    if (this.panes.length === count) return;
    this.box.style.flexDirection = "row";
    this.box.replaceChildren();
    this.panes = Array.from({ length: count }, () => {
      const pane = document.createElement("div");
      const picture = document.createElement("div");
      const image = document.createElement("img");
      const canvas = document.createElement("canvas");
      const title = document.createElement("span");
      pane.className = "pane";
      picture.className = "picture";
      title.className = "title";
      image.alt = "";
      image.draggable = false;
      picture.append(image, canvas);
      pane.append(picture, title);
      this.box.append(pane);
      return { pane, picture, image, canvas, title };
    });
    if (this.address) this.picture(this.address, this.size, this.fitted);
  }

  // Another image. address: of its picture; size: its own, in pixels.
  picture(address, size, fit = true) {
    this.address = address;
    this.size = size;
    for (const { image, picture, canvas } of this.panes) {
      if (image.getAttribute("src") !== address) image.src = address;
      picture.style.width = `${size.width}px`;
      picture.style.height = `${size.height}px`;
      canvas.hidden = true;
    }
    fit ? this.fit() : this.place();
  }

  // layers: for each pane a title and a function that fills the pixels of its canvas, or null.
  layers(layers) {
    this.resize(layers.length);
    layers.forEach(({ title, layer }, number) => {
      const { canvas, title: heading } = this.panes[number];
      heading.textContent = title;
      heading.hidden = !title;
      canvas.hidden = !layer;
      if (!layer) return;
      canvas.width = layer.width;
      canvas.height = layer.height;
      const data = new ImageData(layer.width, layer.height);
      layer.fill(new Uint32Array(data.data.buffer));
      canvas.getContext("2d").putImageData(data, 0, 0);
      canvas.style.opacity = this.opacity;
    });
  }

  fade(opacity) {
    this.opacity = opacity;
    for (const { canvas } of this.panes) canvas.style.opacity = opacity;
  }

  // --- Place and size ---

  fit() {
    if (this.panes.length === 2) {
      const { clientWidth: wide, clientHeight: high } = this.box;
      const [across, down] = [wide / this.size.width, high / this.size.height];
      this.box.style.flexDirection = Math.min(across / 2, down) < Math.min(across, down / 2) ? "column" : "row";
    }
    const { clientWidth: width, clientHeight: height } = this.panes[0].pane;
    this.scale = Math.min(width / this.size.width, height / this.size.height, LARGEST) || 1;
    this.x = (width - this.scale * this.size.width) / 2;
    this.y = (height - this.scale * this.size.height) / 2;
    this.place();
    this.fitted = true;
  }

  // By a factor, about the place of an event or the middle.
  zoom(factor, event) {
    const { clientWidth: width, clientHeight: height } = this.panes[0].pane;
    const at = event ? this.at(event) : { x: width / 2, y: height / 2 };
    const least = Math.min(1, width / this.size.width, height / this.size.height) / 2;
    const scale = Math.max(least, Math.min(LARGEST, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.place();
  }

  place() {
    const crisp = this.scale * devicePixelRatio >= 2;
    for (const { picture } of this.panes) {
      picture.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
      picture.classList.toggle("crisp", crisp);
    }
    this.zoomed(this.scale);
  }

  at(event) {
    const pane = event.target.closest(".pane") ?? this.panes[0].pane;
    const { left, top } = pane.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event);
  }

  grab(event) {
    if (event.button !== 0) return;
    this.held = { x: event.clientX - this.x, y: event.clientY - this.y };
    event.target.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (this.held) {
      this.x = event.clientX - this.held.x;
      this.y = event.clientY - this.held.y;
      this.fitted = false;
      this.place();
    }
    const at = this.at(event);
    const x = Math.floor((at.x - this.x) / this.scale);
    const y = Math.floor((at.y - this.y) / this.scale);
    const inside = x >= 0 && y >= 0 && x < this.size.width && y < this.size.height;
    this.told(inside ? { x, y } : null);
  }

  larger() {
    this.zoom(STEP);
  }

  smaller() {
    this.zoom(1 / STEP);
  }
}

// --- Layers: width, height and a function that fills pixels ---

// about: what label values are. hidden: classes that are not drawn. Black is see-through, as a background is.
export function classes({ width, height, label }, about, hidden) {
  const table = new Uint32Array(label.BYTES_PER_ELEMENT === 1 ? 256 : 65536);
  for (let value = 0; value < about.values; value++) {
    const [red, green, blue] = mixed(members(about, value).filter((k) => !hidden.has(k)).map((k) => about.palette[k]));
    table[value] = red + green + blue > 0 ? pixel(red, green, blue) : 0;
  }
  const fill = (pixels) => {
    for (let at = 0; at < label.length; at++) {
      const value = label[at];
      pixels[at] = value < about.values ? table[value] : stripe(at, width);
    }
  };
  return { width, height, fill };
}

export function errors({ width, height, label }, said, about, hidden) {
  const same = sameness(about, hidden);
  const fill = (pixels) => {
    for (let at = 0; at < label.length; at++) {
      if (label[at] >= about.values) pixels[at] = stripe(at, width);
      else pixels[at] = same(label[at], said.label[at]) ? RIGHT : WRONG;
    }
  };
  return { width, height, fill };
}

export function differences({ width, height, label }, said, about, hidden) {
  const same = sameness(about, hidden);
  const fill = (pixels) => {
    for (let at = 0; at < label.length; at++) pixels[at] = same(label[at], said.label[at]) ? RIGHT : OTHER;
  };
  return { width, height, fill };
}

export function confidences({ width, height, confidence }) {
  const fill = (pixels) => {
    for (let at = 0; at < confidence.length; at++) pixels[at] = CONFIDENCE[confidence[at]];
  };
  return { width, height, fill };
}

// Whether two label values say the same of the classes that are drawn.
function sameness({ sets }, hidden) {
  if (!sets) return (one, other) => one === other || (hidden.has(one) && hidden.has(other));
  const mask = ~[...hidden].reduce((bits, k) => bits | (1 << k), 0);
  return (one, other) => (one & mask) === (other & mask);
}

// The classes of a label value: itself, or those of a set, bit by bit.
export function members({ sets, classes: names }, value) {
  if (!sets) return [value];
  return names.map((_, k) => k).filter((k) => (value >> k) & 1);
}

// The mean of some colours; black for none.
function mixed(colours) {
  return [0, 1, 2].map((part) => Math.round(colours.reduce((sum, one) => sum + one[part], 0) / (colours.length || 1)));
}

function stripe(at, width) {
  const x = at % width;
  return STRIPES[(x + (at - x) / width) % 8 < 3 ? 0 : 1];
}
