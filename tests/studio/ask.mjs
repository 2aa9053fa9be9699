// Calls what `page_test.py` asks for: node ask.mjs PAGE, a question in JSON on standard
// input, the answer on standard output. Arrays of numbers travel as base64.
import { readFileSync } from "node:fs";

const TYPES = { u1: Uint8Array, u2: Uint16Array, f4: Float32Array };
const NAMES = new Map([
  [Uint8Array, "u1"], [Uint8ClampedArray, "u1"], [Uint16Array, "u2"],
  [Uint32Array, "u4"], [Float32Array, "f4"],
]);
const MODULES = ["fill", "frames", "gif", "history", "ids", "latents", "live", "png",
  "readings", "resample", "shapes", "work"];

const page = {};
for (const name of MODULES)
  Object.assign(page, await import(`${process.argv[2]}/${name}.js`));

function decoded(value) {
  if (value?.base64 === undefined) return value;
  return new TYPES[value.type](Uint8Array.from(Buffer.from(value.base64, "base64")).buffer);
}

async function encoded(value) {
  if (value instanceof Blob) value = await value.arrayBuffer();
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return { type: NAMES.get(value.constructor), base64: bytes.toString("base64") };
  }
  if (Array.isArray(value)) return Promise.all(value.map(encoded));
  if (value?.constructor !== Object) return value;
  const entries = Object.entries(value).map(async ([name, x]) => [name, await encoded(x)]);
  return Object.fromEntries(await Promise.all(entries));
}

const { code, given } = JSON.parse(readFileSync(0, "utf8"));
const names = [...Object.keys(page), ...Object.keys(given)];
const ask = new Function(...names, `return (async () => {${code}})()`);
const found = await ask(...Object.values(page), ...Object.values(given).map(decoded));
process.stdout.write(JSON.stringify({ value: await encoded(found) }));
