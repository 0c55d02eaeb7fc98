// The picture with the colours of its classes over it: moved, enlarged and read by mouse, fingers and keys.
"use strict";

const LARGEST = 64; // screen pixels of a picture's pixel
const STEP = 1.4; // of the zoom, by key and button

function colourOf(red, green, blue, alpha = 255) {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0; // bytes in the order of canvases
}

class Stage {
  // told({ x, y } or null): the pixel under the mouse, the finger or the mark of the keys.
  constructor(box, told) {
    const by = (id) => box.querySelector(`#${id}`);
    Object.assign(this, { box, told });
    for (const part of ["picture", "overlay", "mark", "empty"]) this[part] = by(part);
    Object.assign(this, { scale: 1, x: 0, y: 0, fitted: true, size: null, touched: new Map(), read: null });
    box.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    box.addEventListener("pointerdown", (event) => this.grab(event));
    box.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) box.addEventListener(kind, (event) => this.release(event));
    box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !this.read && this.told(null));
    box.addEventListener("dblclick", (event) => this.size && (this.fitted ? this.zoom(4, this.at(event)) : this.fit()));
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("blur", () => this.point(null));
    new ResizeObserver(() => (this.fitted ? this.fit() : this.place())).observe(box);
  }

  // A canvas to show, in the place of the last one. keep: zoom and place, as between frames of a camera.
  show(canvas, keep) {
    this.box.querySelector("#original").replaceChildren(canvas);
    const same = this.size?.width === canvas.width && this.size.height === canvas.height;
    this.size = { width: canvas.width, height: canvas.height };
    this.picture.style.width = `${canvas.width}px`;
    this.picture.style.height = `${canvas.height}px`;
    this.picture.hidden = false;
    this.empty.hidden = true;
    this.box.classList.add("full");
    if (!keep || !same) {
      this.overlay.hidden = true;
      this.point(null);
      this.fit();
    }
  }

  // The colours of a label map; null for none. hidden: classes that are not drawn.
  paint(found, palette, hidden) {
    this.overlay.hidden = !found;
    if (!found) return;
    const table = Uint32Array.from(palette, (colour, value) => (hidden.has(value) ? 0 : colourOf(...colour)));
    const image = new ImageData(found.width, found.height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let at = 0; at < pixels.length; at++) pixels[at] = table[found.label[at]];
    Object.assign(this.overlay, { width: found.width, height: found.height });
    this.overlay.getContext("2d").putImageData(image, 0, 0);
  }

  fade(opacity) {
    this.overlay.style.opacity = opacity;
  }

  // --- Place and size ---

  fit() {
    this.fitted = true;
    if (!this.size) return;
    const { clientWidth: width, clientHeight: height } = this.box;
    this.scale = Math.min(width / this.size.width, height / this.size.height, LARGEST) || 1;
    this.x = (width - this.scale * this.size.width) / 2;
    this.y = (height - this.scale * this.size.height) / 2;
    this.place();
  }

  // By a factor, about a place of the box or its middle.
  zoom(factor, at = { x: this.box.clientWidth / 2, y: this.box.clientHeight / 2 }) {
    if (!this.size) return;
    const least = Math.min(1, this.box.clientWidth / this.size.width, this.box.clientHeight / this.size.height) / 2;
    const scale = Math.max(least, Math.min(LARGEST, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.place();
  }

  place() {
    this.picture.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.picture.classList.toggle("crisp", this.scale * devicePixelRatio >= 2);
    this.point(this.read);
  }

  at(event) {
    const { left, top } = this.box.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  pixel({ x, y }) {
    if (!this.size) return null;
    const found = { x: Math.floor((x - this.x) / this.scale), y: Math.floor((y - this.y) / this.scale) };
    const inside = found.x >= 0 && found.y >= 0 && found.x < this.size.width && found.y < this.size.height;
    return inside ? found : null;
  }

  // --- Mouse and fingers: one moves, two enlarge ---

  wheel(event) {
    if (!this.size) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), this.at(event));
  }

  grab(event) {
    if (!this.size || event.button !== 0) return;
    this.box.setPointerCapture(event.pointerId);
    this.touched.set(event.pointerId, this.at(event));
    this.point(null);
    this.told(this.pixel(this.at(event)));
  }

  move(event) {
    if (!this.size) return;
    const at = this.at(event);
    const before = this.touched.get(event.pointerId);
    if (before) {
      const [other] = [...this.touched].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      if (other) {
        const apart = (place) => Math.hypot(place.x - other.x, place.y - other.y) || 1;
        this.zoom(apart(at) / apart(before), { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
      } else if (at.x !== before.x || at.y !== before.y) {
        this.box.classList.add("moving");
        this.x += at.x - before.x;
        this.y += at.y - before.y;
        this.fitted = false;
        this.place();
      }
      this.touched.set(event.pointerId, at);
    }
    if (!this.read) this.told(this.pixel(at));
  }

  release(event) {
    this.touched.delete(event.pointerId);
    this.box.classList.remove("moving");
  }

  // --- Keys: a mark that reads ---

  key(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (event.key === "Escape") this.point(null);
    if (!way || !this.size || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { width, height } = this.size;
    const step = Math.max(1, Math.round((event.shiftKey ? 40 : 4) / this.scale));
    const from = this.read ?? { x: width >> 1, y: height >> 1 };
    const within = (value, length) => Math.max(0, Math.min(length - 1, value));
    this.point({ x: within(from.x + way[0] * step, width), y: within(from.y + way[1] * step, height) });
    this.told(this.read);
  }

  point(read) {
    if (this.read && !read) this.told(null);
    this.read = read;
    this.mark.hidden = !read;
    if (!read) return;
    this.mark.style.left = `${this.x + (read.x + 0.5) * this.scale}px`;
    this.mark.style.top = `${this.y + (read.y + 0.5) * this.scale}px`;
  }

  larger() {
    this.zoom(STEP);
  }

  smaller() {
    this.zoom(1 / STEP);
  }
}
