// The model itself, computed by onnxruntime-web.
import * as ort from "./ort.wasm.bundle.min.mjs";
import { bicubic } from "./resample.js";

if (self.crossOriginIsolated) ort.env.wasm.numThreads = navigator.hardwareConcurrency;
const sessions = {};
let model, queue = Promise.resolve();

self.onmessage = ({ data }) => {
  if (data.model) return void (model = data.model);
  // One after another, as a session takes no second call.
  queue = queue.then(async () => {
    try {
      const answer = data.photo ? { style: await encode(data.photo) } : await synthesise(data);
      self.postMessage({ number: data.number, ...answer });
    } catch (error) {
      self.postMessage({ number: data.number, error: error.message });
    }
  });
};

const session = (name) => (sessions[name] ??= ort.InferenceSession.create(`${name}.onnx`));

async function synthesise({ ids, style }) {
  const generator = await session("generator"), start = performance.now();
  const { width, height, padded: [rows, columns] } = model;
  const label = new Int32Array(rows * columns);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++)
      label[y * columns + x] = ids[Math.min(y, height - 1) * width + Math.min(x, width - 1)];
  const shape = [1, rows, columns], given = { label: new ort.Tensor("int32", label, shape) };
  if (model.edges) given.edge = new ort.Tensor("bool", edges(label, rows, columns), shape);
  if (model.style_size) given.z = new ort.Tensor("float32", style, [1, style.length]);
  const { image } = await generator.run(given);
  const pixels = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) {
        const value = image.data[(y * image.dims[2] + x) * 3 + c];
        pixels[4 * (y * width + x) + c] = Math.floor(127.5 * (value + 1));
      }
  return { pixels, milliseconds: performance.now() - start };
}

// Of regions of a class, each of which is one object: both sides of a change.
function edges(label, rows, columns) {
  const found = new Uint8Array(label.length);
  for (let i = 0; i < label.length; i++)
    for (const [j, isInside] of [[i + 1, (i + 1) % columns > 0], [i + columns, i + columns < rows * columns]])
      if (isInside && label[i] !== label[j]) found[i] = found[j] = 1;
  return found;
}

async function encode(photo) {
  const { width, height } = photo, context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(photo, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const small = bicubic(data.filter((_, i) => i % 4 < 3), photo, model, 3);
  const values = Float32Array.from(small, (x) => x / 127.5 - 1);
  const encoder = await session("encoder");
  const given = new ort.Tensor("float32", values, [1, model.height, model.width, 3]);
  return Float32Array.from((await encoder.run({ photo: given })).mean.data);
}
