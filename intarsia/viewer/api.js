// What the server is asked. Addresses are relative, so that they carry the token of the page.

const HEADER = 16;

async function ask(name, parameters, options = {}) {
  const answer = await fetch(`${name}?${new URLSearchParams(parameters)}`, options);
  if (answer.ok) return answer;
  throw new Error((await answer.json().catch(() => ({}))).error ?? `the server answers ${answer.status}`);
}

export async function json(name, parameters = {}) {
  return (await ask(name, parameters)).json();
}

export async function send(name, content) {
  const headers = { "Content-Type": "application/json" };
  return (await ask(name, {}, { method: "POST", headers, body: JSON.stringify(content) })).json();
}

// A map: width, height, its values by row, and confidences from 0 to 255 or null; nothing (null) where there is none.
export async function map(name, parameters, signal) {
  const data = await (await ask(name, parameters, { signal })).arrayBuffer();
  if (!data.byteLength) return null;
  const [width, height, bytes, sure] = new Uint32Array(data, 0, 4);
  const count = width * height;
  const label = bytes === 1 ? new Uint8Array(data, HEADER, count) : new Uint16Array(data, HEADER, count);
  const confidence = sure ? new Uint8Array(data, HEADER + count * bytes, count) : null;
  return { width, height, label, confidence };
}
