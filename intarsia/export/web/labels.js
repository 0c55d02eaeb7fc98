// From what the file answers to a label map: at once, or of windows, whose mean counts where they overlap, as in
// `inference/logits`. Part of the worker.
"use strict";

// Scores of K classes over an image of height x width, summed up window by window. Of a file that gives labels, a
// window's score is 1 for the class and 0 for the others: the majority of the windows decides.
class Scores {
  constructor(count, { height, width }) {
    Object.assign(this, { count, height, width });
    this.sums = Array.from({ length: count }, () => new Float32Array(height * width));
    this.windows = new Uint16Array(height * width);
  }

  // What the file answered for a window of height x width at (top, left); more columns may come than count.
  add(answer, top, left, { height, width }) {
    const [, rows, columns] = answer.logits ? [0, ...answer.logits.dims.slice(2)] : [0, ...answer.label.dims.slice(1)];
    const values = (answer.logits ?? answer.label).data;
    for (let y = 0; y < height; y++) {
      const to = (top + y) * this.width + left;
      for (let x = 0; x < width; x++) this.windows[to + x]++;
      if (!answer.logits) {
        for (let x = 0; x < width; x++) this.sums[values[y * columns + x]][to + x]++;
        continue;
      }
      for (let k = 0; k < this.count; k++) {
        const [sums, from] = [this.sums[k], (k * rows + y) * columns];
        for (let x = 0; x < width; x++) sums[to + x] += values[from + x];
      }
    }
  }

  mean() {
    for (const sums of this.sums) for (let at = 0; at < sums.length; at++) sums[at] /= this.windows[at];
    return this;
  }

  // The label map at a size, and where the scores are logits how probable each label is. threshold: the probability of
  // the second of two classes above which a pixel has it, null where the larger score decides.
  decided(size, { threshold, aligned, logits }) {
    const { height, width } = size;
    const label = this.count > 256 ? new Int32Array(height * width) : new Uint8Array(height * width);
    const confidence = logits ? new Float32Array(height * width) : null;
    const row = Array.from({ length: this.count }, () => new Float32Array(width));
    const across = places(this.width, width, aligned);
    const down = places(this.height, height, aligned);
    for (let y = 0; y < height; y++) {
      this.sums.forEach((sums, k) => this.interpolate(sums, down, y, across, row[k]));
      for (let x = 0; x < width; x++) {
        const at = y * width + x;
        const [value, share] = logits ? likeliest(row, x, threshold) : [largest(row, x), 0];
        label[at] = value;
        if (confidence) confidence[at] = share;
      }
    }
    return { height, width, label, confidence };
  }

  interpolate(sums, down, y, across, row) {
    const above = down.first[y] * this.width;
    const below = down.second[y] * this.width;
    const low = down.share[y];
    for (let x = 0; x < row.length; x++) {
      const [left, right, share] = [across.first[x], across.second[x], across.share[x]];
      row[x] =
        (1 - low) * ((1 - share) * sums[above + left] + share * sums[above + right]) +
        low * ((1 - share) * sums[below + left] + share * sums[below + right]);
    }
  }
}

// Which two neighbours each new place lies between, and how much of the second it has: torch's bilinear interpolation.
function places(old, length, aligned) {
  const first = new Int32Array(length);
  const second = new Int32Array(length);
  const share = new Float32Array(length);
  const step = aligned ? (length > 1 ? (old - 1) / (length - 1) : 0) : old / length;
  for (let at = 0; at < length; at++) {
    const place = aligned ? at * step : Math.max((at + 0.5) * step - 0.5, 0);
    first[at] = Math.min(Math.floor(place), old - 1);
    second[at] = Math.min(first[at] + 1, old - 1);
    share[at] = place - first[at];
  }
  return { first, second, share };
}

function largest(row, x) {
  let best = 0;
  for (let k = 1; k < row.length; k++) if (row[k][x] > row[best][x]) best = k;
  return best;
}

// The label and its probability, of logits: one, whose sigmoid is that of the second class, or one for each class.
function likeliest(row, x, threshold) {
  if (row.length === 1) {
    const second = 1 / (1 + Math.exp(-row[0][x]));
    return second > threshold ? [1, second] : [0, 1 - second];
  }
  const best = largest(row, x);
  let sum = 0;
  for (const values of row) sum += Math.exp(values[x] - row[best][x]);
  if (threshold === null) return [best, 1 / sum];
  const second = Math.exp(row[1][x] - row[best][x]) / sum;
  return second > threshold ? [1, second] : [0, 1 - second];
}

// Label map and probabilities with each pixel repeated, at another size: for images that were computed smaller.
function enlarged(found, { height, width }) {
  if (found.height === height && found.width === width) return found;
  const source = (at, old, length) => Math.min(Math.floor(((at + 0.5) * old) / length), old - 1);
  const columns = Int32Array.from({ length: width }, (_, x) => source(x, found.width, width));
  const label = new found.label.constructor(height * width);
  const confidence = found.confidence && new Float32Array(height * width);
  for (let y = 0, to = 0; y < height; y++) {
    const from = source(y, found.height, height) * found.width;
    for (let x = 0; x < width; x++, to++) {
      label[to] = found.label[from + columns[x]];
      if (confidence) confidence[to] = found.confidence[from + columns[x]];
    }
  }
  return { height, width, label, confidence };
}
