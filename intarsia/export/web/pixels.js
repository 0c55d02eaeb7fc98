// Pixels as the model expects them: the size that its pipeline gives an image, and OpenCV's bilinear resizing, bit for
// bit, which is what it was trained and measured with. Part of the worker.
"use strict";

const BITS = 11; // of OpenCV's weights of 8-bit images

// --- Sizes, as `data/transforms/resize.py` has them ---

const rounded = (value) => Math.trunc(value + 0.5);

const TARGETS = {
  exact: (size, { height, width }) => ({ height, width }),
  factor: (size, { height, width }) => ({ height: rounded(size.height * height), width: rounded(size.width * width) }),
  multiple: (size, { height, width }) => ({
    height: Math.ceil(size.height / height) * height, width: Math.ceil(size.width / width) * width,
  }),
  shortest: (size, { length, most }) => {
    const factor = length / Math.min(size.height, size.width);
    let [height, width] = size.height < size.width ? [length, factor * size.width] : [factor * size.height, length];
    if (Math.max(height, width) > most) {
      const shrink = most / Math.max(height, width);
      [height, width] = [height * shrink, width * shrink];
    }
    return { height: Math.max(rounded(height), 1), width: Math.max(rounded(width), 1) };
  },
};

// The size of an image after one step of the pipeline.
function target(size, step) {
  const found = TARGETS[step.kind](size, step);
  if (!step.keep) return found;
  const sides = [size.height, size.width];
  const wanted = [found.height, found.width];
  const factor = Math.min(Math.max(...wanted) / Math.max(...sides), Math.min(...wanted) / Math.min(...sides));
  return { height: Math.max(rounded(size.height * factor), 1), width: Math.max(rounded(size.width * factor), 1) };
}

// --- Pixels: { height, width, data }, data being red, green and blue of each ---

function withoutAlpha({ height, width, data }) {
  const found = new Uint8Array(height * width * 3);
  for (let from = 0, to = 0; to < found.length; from += 4, to += 3) {
    found[to] = data[from];
    found[to + 1] = data[from + 1];
    found[to + 2] = data[from + 2];
  }
  return { height, width, data: found };
}

function resized(image, { height, width }) {
  if (height === image.height && width === image.width) return image;
  if (image.height === 2 * height && image.width === 2 * width) return halved(image);
  const data = new Uint8Array(height * width * 3);
  const across = weights(image.width, width, true);
  const down = weights(image.height, height, false);
  const rows = new Map(); // the two source rows in sight, resized across
  for (let y = 0; y < height; y++) {
    const [above, below] = [0, 1].map((step) => Math.min(Math.max(down.from[y] + step, 0), image.height - 1));
    for (const row of rows.keys()) if (row < above) rows.delete(row);
    for (const row of [above, below]) if (!rows.has(row)) rows.set(row, stretched(image, row, across));
    const [first, second] = [rows.get(above), rows.get(below)];
    const [upper, lower] = [down.near[y], down.far[y]];
    const begin = y * width * 3;
    for (let at = 0; at < first.length; at++) {
      const sum = ((upper * (first[at] >> 4)) >> 16) + ((lower * (second[at] >> 4)) >> 16) + 2;
      data[begin + at] = Math.min(Math.max(sum >> 2, 0), 255);
    }
  }
  return { height, width, data };
}

// Which two pixels each new one is made of, and how much of each, in 2048ths. OpenCV computes in single precision, and
// across an image it takes a pixel beyond the border as the last one with all the weight.
function weights(old, length, across) {
  const from = new Int32Array(length);
  const near = new Int32Array(length);
  const far = new Int32Array(length);
  const step = 1 / (length / old);
  for (let at = 0; at < length; at++) {
    const place = Math.fround((at + 0.5) * step - 0.5);
    let first = Math.floor(place);
    let share = Math.fround(place - first);
    if (across && first < 0) [first, share] = [0, 0];
    if (across && first >= old - 1) [first, share] = [old - 1, 0];
    from[at] = first;
    near[at] = even(Math.fround(Math.fround(1 - share) * 2 ** BITS));
    far[at] = even(Math.fround(share * 2 ** BITS));
  }
  return { from, near, far };
}

// The nearest whole number, of two the even one.
function even(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2) ? below + 1 : below;
}

function stretched({ width, data }, row, { from, near, far }) {
  const found = new Int32Array(from.length * 3);
  const begin = row * width * 3;
  for (let x = 0, at = 0; x < from.length; x++) {
    const left = begin + from[x] * 3;
    const right = begin + Math.min(from[x] + 1, width - 1) * 3;
    for (let band = 0; band < 3; band++, at++) found[at] = data[left + band] * near[x] + data[right + band] * far[x];
  }
  return found;
}

// To exactly half of both sides, where OpenCV takes the mean of four.
function halved({ height, width, data }) {
  const [rows, columns, line] = [height / 2, width / 2, width * 3];
  const found = new Uint8Array(rows * columns * 3);
  for (let y = 0, to = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      for (let band = 0; band < 3; band++, to++) {
        const at = 2 * y * line + 6 * x + band;
        found[to] = (data[at] + data[at + 3] + data[at + line] + data[at + line + 3] + 2) >> 2;
      }
    }
  }
  return { height: rows, width: columns, data: found };
}

// --- Windows ---

// Where windows begin along one side: every `stride`, the last one shifted back inside; without a stride evenly apart.
function starts(length, crop, stride) {
  if (!stride) {
    const count = Math.ceil(length / crop);
    return Array.from({ length: count }, (_, at) => (count > 1 ? Math.floor((at * (length - crop)) / (count - 1)) : 0));
  }
  const count = Math.floor(Math.max(length - crop + stride - 1, 0) / stride) + 1;
  return Array.from({ length: count }, (_, at) => Math.max(Math.min(at * stride + crop, length) - crop, 0));
}

// A part of an image, filled up with `filling` where it ends before `size`.
function cut({ height, width, data }, top, left, size, filling) {
  const found = new Uint8Array(size.height * size.width * 3);
  const [rows, columns] = [Math.min(size.height, height - top), Math.min(size.width, width - left)];
  if (rows < size.height || columns < size.width) {
    for (let at = 0; at < found.length; at += 3) found.set(filling, at);
  }
  for (let y = 0; y < rows; y++) {
    const begin = ((top + y) * width + left) * 3;
    found.set(data.subarray(begin, begin + columns * 3), y * size.width * 3);
  }
  return { ...size, data: found };
}

// Bands one after the other, for files that take them so.
function planes({ height, width, data }) {
  const count = height * width;
  const found = new Uint8Array(count * 3);
  for (let at = 0; at < count; at++) {
    for (let band = 0; band < 3; band++) found[band * count + at] = data[3 * at + band];
  }
  return found;
}
