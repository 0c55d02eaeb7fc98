// The exported file, ready to run: its bytes, the worker, and what to do when something goes wrong.
"use strict";

const HEAP = 3e9; // bytes that WebAssembly surely has, of at most 4 GB
const COPIES = 3; // of the logits at full size, while labels are made of them
const MOST_SHRUNK = 16;

const bytesOf = new Map();
const absolute = (name) => new URL(name, document.baseURI).href;
const blobOf = (parts) => URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));

// A file of the page: in the page itself, or beside it.
async function load(name, told) {
  if (!bytesOf.has(name)) {
    const block = document.querySelector(`script[data-file="${name}"]`);
    bytesOf.set(name, block ? await unpacked(block, told) : await fetched(name, told));
  }
  return bytesOf.get(name);
}

async function fetched(name, told) {
  const answer = await fetch(name).catch((error) => {
    throw new Error(`“${name}” could not be loaded (${error.message})`);
  });
  if (!answer.ok) throw new Error(`“${name}” could not be loaded: the server answers ${answer.status}`);
  return collected(answer.body, (count) => told(count, about.files[name] ?? 0));
}

async function unpacked(block, told) {
  const text = block.textContent;
  block.remove();
  const packed = new Uint8Array((text.length * 3) / 4);
  let to = 0;
  for (let from = 0; from < text.length; from += 2 ** 20) {
    const part = atob(text.slice(from, from + 2 ** 20));
    for (let at = 0; at < part.length; at++) packed[to++] = part.charCodeAt(at);
    await new Promise((next) => setTimeout(next));
  }
  const stream = new Blob([packed.subarray(0, to)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return collected(stream, (count) => told(count, about.files[block.dataset.file] ?? 0));
}

async function collected(stream, told) {
  const parts = [];
  let count = 0;
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    told((count += value.length));
  }
  return new Blob(parts).arrayBuffer();
}

class Network {
  // told(text, share): how far it is; share null where nobody knows.
  constructor(told) {
    Object.assign(this, { told, worker: null, waiting: new Map(), number: 0, backend: "", threads: 0, shrink: 1 });
  }

  // Load everything and compile it. wanted: "webgpu", "wasm" or "auto". Gives a note if it is not what was wanted.
  async open(wanted) {
    if (typeof WebAssembly !== "object") throw new Error("this browser has no WebAssembly, which computes here");
    const gpu = about.runtimes.webgpu && wanted !== "wasm" && (await hasGPU());
    if (gpu) {
      try {
        await this.start("webgpu");
        return "";
      } catch (error) {
        await this.start("wasm");
        return `WebGPU does not take this model (${error.message}): the processor computes.`;
      }
    }
    await this.start("wasm");
    return wanted === "webgpu" ? "This browser gives no WebGPU: the processor computes." : "";
  }

  async start(backend) {
    this.stop();
    const { script, module, binary } = about.runtimes[backend];
    const part = (name, words) => load(name, (count, whole) => this.told(words, whole ? count / whole : null));
    const program = await part(binary, "Loading the program");
    const model = await part(about.model, "Loading the model");
    const code = ["pixels.js", "labels.js", script, "worker.js"];
    // The worker begins as a blob, since such a one has the page's content security policy and a file has none.
    const source = about.embedded
      ? await Promise.all(code.map((name) => part(name, "Loading the program")))
      : [`importScripts(${code.map((name) => JSON.stringify(absolute(name))).join()});`];
    const glue = about.embedded ? await part(module, "Loading the program") : absolute(module);
    this.told("Preparing the model", null);
    this.worker = new Worker(blobOf(source.flatMap((text) => [text, "\n"])));
    this.worker.onmessage = ({ data }) => {
      const { done, failed } = this.waiting.get(data.number);
      this.waiting.delete(data.number);
      if (data.type === "done") done(data);
      else failed(Object.assign(new Error(data.text), { memory: data.memory }));
    };
    this.worker.onerror = (event) => {
      this.fail(Object.assign(new Error(event.message || "the worker ended"), { memory: true }));
    };
    const { threads } = await this.ask({ type: "open", about, model, backend, module: glue, binary: program });
    Object.assign(this, { backend, threads });
  }

  ask(message) {
    const number = ++this.number;
    return new Promise((done, failed) => {
      this.waiting.set(number, { done, failed });
      this.worker.postMessage({ ...message, number });
    });
  }

  fail(error) {
    for (const { failed } of this.waiting.values()) failed(error);
    this.waiting.clear();
  }

  // End what is going on; nothing can be run before `start`.
  stop() {
    this.worker?.terminate();
    this.worker = null;
    this.fail(Object.assign(new Error("stopped"), { stopped: true }));
  }

  // Label map of a picture { height, width, data }, computed smaller where the memory asks for it. most: pixels of the
  // longer side, 0 for as many as there are.
  async run({ height, width, data }, most = 0) {
    const picture = { height, width, data };
    const asked = most ? Math.max(1, Math.max(height, width) / most) : 1;
    let shrink = Math.max(asked, this.needed(picture));
    for (;;) {
      try {
        if (!this.worker) await this.start(this.backend || "wasm");
        const found = await this.ask({ type: "run", picture, shrink });
        return { ...found, forced: shrink > asked };
      } catch (error) {
        if (this.backend === "webgpu" && !error.stopped) {
          await this.start("wasm"); // a graphics card that gives up on this picture
          continue;
        }
        if (!error.memory || shrink * 2 > MOST_SHRUNK) throw error;
        shrink *= 2;
        this.stop(); // what is left of its memory cannot be relied upon
        this.told("Not enough memory: once more, smaller", null);
      }
    }
  }

  // How many times smaller an image must be at least, so that the scores of all classes have room.
  needed({ height, width }) {
    const scores = about.windows ? 1 : COPIES;
    let shrink = 1;
    while ((about.classes.length * height * width * 4 * scores) / shrink ** 2 > HEAP) shrink *= 2;
    return shrink;
  }

  get words() {
    if (this.backend === "webgpu") return "WebGPU";
    return `WebAssembly, ${this.threads === 1 ? "1 thread" : `${this.threads} threads`}`;
  }
}

async function hasGPU() {
  try {
    return Boolean(await navigator.gpu?.requestAdapter());
  } catch {
    return false;
  }
}
