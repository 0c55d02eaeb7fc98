// Pictures: files as pixels, frames of the camera, and label maps as files.
"use strict";

const LARGEST_FILE = 500e6; // bytes
const LARGEST_SIDE = 16384; // of a canvas

// The pixels of a picture's file, as they are stored in it and turned as its camera says: no colour management, since
// the training had none. Gives { height, width, data, canvas, note }.
async function decoded(file) {
  if (file.size > LARGEST_FILE) {
    throw new Error(`“${file.name}” has ${mega(file.size)}; pictures of up to ${mega(LARGEST_FILE)} are read here`);
  }
  let bitmap;
  try {
    const ways = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
    bitmap = await createImageBitmap(file, ways);
  } catch {
    throw new Error(`“${file.name}” is no picture that this browser can read. JPEG, PNG and WebP always are`);
  }
  const { height, width } = bitmap;
  if (Math.max(height, width) > LARGEST_SIDE) {
    bitmap.close();
    throw new Error(`“${file.name}” has ${width} × ${height} pixels; up to ${LARGEST_SIDE} a side are read here`);
  }
  const canvas = sheet(width, height);
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  let data;
  try {
    brush.drawImage(bitmap, 0, 0);
    ({ data } = brush.getImageData(0, 0, width, height));
  } catch {
    throw new Error(`there is not enough memory for a picture of ${width} × ${height} pixels`);
  }
  const found = { height, width, data, canvas, note: "" };
  const straight = hasAlpha(data) ? unmultiplied(bitmap) : null;
  if (straight) found.data = straight;
  else if (hasAlpha(data)) found.note = "What is see-through in the picture is taken as black.";
  if (await isDeep(file)) found.note = "The file has 16 bits for each colour, of which the browser makes 8.";
  bitmap.close();
  return found;
}

async function isDeep(file) {
  const head = new Uint8Array(await file.slice(0, 25).arrayBuffer());
  return String.fromCharCode(...head.subarray(1, 4)) === "PNG" && head[24] === 16;
}

// The present frame of a camera.
function frame(video) {
  const [width, height] = [video.videoWidth, video.videoHeight];
  const canvas = sheet(width, height);
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  brush.drawImage(video, 0, 0);
  return { height, width, data: brush.getImageData(0, 0, width, height).data, canvas, note: "" };
}

function sheet(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

function hasAlpha(data) {
  for (let at = 3; at < data.length; at += 4) if (data[at] !== 255) return true;
  return false;
}

// The colours of see-through pixels as well, which a canvas forgets and the command line reads. Null without WebGL.
function unmultiplied(bitmap) {
  const { height, width } = bitmap;
  const gl = sheet(1, 1).getContext("webgl2");
  if (!gl || Math.max(height, width) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const data = new Uint8ClampedArray(height * width * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
  const failed = gl.getError();
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return failed ? null : data;
}

const mega = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;

// --- Files of label maps ---

// A PNG of one band with class indices, as `intarsia predict` writes it: 8 bits, 16 from 257 classes on.
async function maskFile({ height, width, label }, count) {
  const bytes = count > 256 ? 2 : 1;
  const line = width * bytes + 1;
  const rows = new Uint8Array(height * line); // each begins with a 0: it is stored as it is
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = label[y * width + x];
      const at = y * line + 1 + x * bytes;
      if (bytes === 2) rows[at] = value >> 8;
      rows[at + bytes - 1] = value & 255;
    }
  }
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, 8 * bytes);
  const parts = [
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    chunk("IHDR", new Uint8Array(head.buffer)),
    chunk("IDAT", new Uint8Array(await new Response(packed).arrayBuffer())),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Blob(parts, { type: "image/png" });
}

const CHECKS = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function chunk(kind, content) {
  const found = new Uint8Array(content.length + 12);
  const view = new DataView(found.buffer);
  view.setUint32(0, content.length);
  found.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  found.set(content, 8);
  let check = -1;
  for (let at = 4; at < content.length + 8; at++) check = (check >>> 8) ^ CHECKS[(check ^ found[at]) & 255];
  view.setUint32(content.length + 8, ~check);
  return found;
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
