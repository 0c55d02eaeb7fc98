// What computes, beside the page, so that the page stays awake: onnxruntime-web with the exported file.
// It takes { type: "open", ... } once and { type: "run", ... } for each image, and answers with { type, number, ... }.
"use strict";

const MOST_THREADS = 8;

const WANT = /bad_alloc|integer overflow|out of memory|memory access|allocat|\bOOM\b|abort|ERROR_CODE: 6\b|^\d+$/i;

let about; // what the page knows of the file
let session;

const ANSWERS = { open, run };

self.onmessage = async ({ data }) => {
  try {
    const { answer, moved = [] } = await ANSWERS[data.type](data);
    self.postMessage({ type: "done", number: data.number, ...answer }, moved);
  } catch (error) {
    self.postMessage({ type: "failed", number: data.number, ...words(error) });
  }
};

// onnxruntime throws errors, texts, and for want of memory numbers: where the exception lies. Sizes above 4 GB, which
// no 32 bits hold, are an integer overflow to it.
function words(error) {
  const text = typeof error === "number" ? `error ${error}` : String(error?.message ?? error);
  const memory = typeof error === "number" || error instanceof RangeError || WANT.test(text);
  return { text: text.replace(/\s+/g, " ").trim().slice(0, 400), memory };
}

// about: see `page.py`. model: bytes. backend: "webgpu" or "wasm". module, binary: of the runtime, an address, or bytes
// (whose address has to be made here: what a page from the disk makes is nobody else's), and bytes.
async function open({ about: said, model, backend, module, binary }) {
  about = said;
  const cores = navigator.hardwareConcurrency;
  const threads = self.crossOriginIsolated ? Math.min(MOST_THREADS, cores, Math.max(2, Math.ceil(cores / 2))) : 1;
  const blob = () => URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
  const mjs = typeof module === "string" ? module : blob();
  ort.env.logLevel = "error";
  Object.assign(ort.env.wasm, { numThreads: threads, proxy: false, wasmBinary: binary, wasmPaths: { mjs } });
  session = await ort.InferenceSession.create(new Uint8Array(model), {
    executionProviders: [backend], graphOptimizationLevel: "all", logSeverityLevel: 3,
  });
  return { answer: { threads: backend === "wasm" ? threads : 0 } };
}

// picture: { height, width, data } with red, green, blue and alpha. shrink: how many times smaller to compute.
async function run({ picture, shrink }) {
  const began = performance.now();
  const whole = { height: picture.height, width: picture.width };
  const size = smaller(whole, shrink);
  let image = withoutAlpha(picture);
  if (!about.resize.length) image = resized(image, size);
  for (const step of about.resize) image = resized(image, target(image, step));
  const found = about.windows ? await byWindows(image, size) : await atOnce(image, size);
  const { label, confidence } = enlarged(found, whole);
  const moved = [label.buffer, ...(confidence ? [confidence.buffer] : [])];
  return { answer: { ...whole, label, confidence, shrink, seconds: (performance.now() - began) / 1000 }, moved };
}

function smaller({ height, width }, shrink) {
  return { height: Math.max(1, Math.round(height / shrink)), width: Math.max(1, Math.round(width / shrink)) };
}

async function answerTo(image, size) {
  const { height, width } = image;
  const rows = about.layout === "NHWC";
  const shape = rows ? [1, height, width, 3] : [1, 3, height, width];
  const feeds = { image: new ort.Tensor("uint8", rows ? image.data : planes(image), shape) };
  if (about.asks_size) {
    feeds.size = new ort.Tensor("int64", BigInt64Array.from([size.height, size.width], BigInt), [2]);
  }
  return session.run(feeds);
}

async function atOnce(image, size) {
  const answer = await answerTo(image, size);
  const logits = answer.logits;
  const [height, width] = (logits ?? answer.label).dims.slice(-2);
  if (!logits) return { height, width, label: answer.label.data, confidence: answer.confidence?.data ?? null };
  const scores = new Scores(logits.dims[1], { height, width });
  scores.add(answer, 0, 0, scores);
  return scores.decided(size, decision());
}

async function byWindows(image, size) {
  const { crop, stride, fixed } = about.windows;
  const shown = { height: Math.min(crop[0], image.height), width: Math.min(crop[1], image.width) };
  const asked = fixed ? { height: crop[0], width: crop[1] } : shown;
  let scores = null;
  for (const top of starts(image.height, crop[0], stride?.[0])) {
    for (const left of starts(image.width, crop[1], stride?.[1])) {
      const answer = await answerTo(cut(image, top, left, asked, about.filling), asked);
      scores ??= new Scores(answer.logits?.dims[1] ?? about.classes.length, image);
      scores.add(answer, top, left, shown);
    }
  }
  return scores.mean().decided(size, decision());
}

function decision() {
  return { threshold: about.threshold, aligned: about.align_corners, logits: about.output === "logits" };
}
