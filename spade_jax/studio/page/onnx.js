// The engine without a server: a web worker that computes, and files beside the page.
import { decodeRuns, fromBase64 } from "./ids.js";
import { decodePng, encodePng } from "./png.js";
import { readings } from "./readings.js";

export async function open() {
  const [model, landscapes] = await Promise.all(
    ["model.json", "landscapes.json"].map(async (name) => (await fetch(name)).json()));
  const worker = new Worker("onnx_worker.js", { type: "module" });
  worker.postMessage({ number: 0, model });
  return new WorkerEngine(model, landscapes, worker);
}

class WorkerEngine {
  #landscapes;
  #worker;
  #waiting = new Map();
  #number = 0;
  onchange = () => {};

  constructor(model, landscapes, worker) {
    this.model = model;
    this.#landscapes = landscapes;
    this.#worker = worker;
    worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.#waiting.get(data.number);
      this.#waiting.delete(data.number);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    worker.onerror = (event) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(event.message));
      this.#waiting.clear();
    };
  }

  async synthesise(ids, style) {
    const { width, height } = this.model;
    const { pixels, milliseconds } = await this.#ask({ ids, style });
    const values = pixels.filter((_, i) => i % 4 < 3);
    const png = await encodePng({ width, height, values, channels: 3 });
    return { bitmap: await createImageBitmap(new ImageData(pixels, width, height)), png, milliseconds };
  }

  async encode(file) {
    return (await this.#ask({ photo: await createImageBitmap(file) })).style;
  }

  async readLayout(file) {
    return readings(await decodePng(new Uint8Array(await file.arrayBuffer())), this.model);
  }

  async landscape(seed) {
    // The first is that of the model's own seed.
    const i = seed === this.model.first_landscape ? 0 : seed % this.#landscapes.length;
    return decodeRuns(fromBase64(this.#landscapes[i]), this.model.width * this.model.height);
  }

  #ask(question) {
    const number = ++this.#number;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#worker.postMessage({ number, ...question });
    });
  }
}
