// The engine that is a server: layouts up a WebSocket, pictures down; HTTP for the rest.
import { packLayout, unpackAnswer } from "./frames.js";
import { decodeRuns, fromBase64 } from "./ids.js";

const TOO_MANY = 1013;

export async function open() {
  const token = new URLSearchParams(location.search).get("token");
  const server = new Server(token);
  return new SocketEngine(server, await server.ask("api/model"));
}

class Server {
  #token;

  constructor(token) { this.#token = token; }

  address(path, protocol = location.protocol) {
    const url = new URL(path, location.href.split("?")[0]);
    url.protocol = protocol;
    if (this.#token) url.searchParams.set("token", this.#token);
    return url;
  }

  async ask(path, file = null) {
    const answer = await fetch(this.address(path), file ? { method: "POST", body: file } : {});
    if (answer.ok) return answer.json();
    const { error } = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
    throw new Error(error);
  }
}

class SocketEngine {
  #server;
  #socket = null;
  #number = 0;
  #waiting = null;
  #wasLost = false;
  onchange = () => {};

  constructor(server, model) {
    this.#server = server;
    this.model = model;
  }

  async synthesise(ids, style, classStyles) {
    for (;;) {
      try {
        return await this.#once(ids, style, classStyles);
      } catch (error) {
        if (!error.isLost) throw error;
        this.#wasLost = true;
        this.onchange(`${error.message} Trying again…`);
        await new Promise((done) => setTimeout(done, 1000));
      }
    }
  }

  async encode(file) {
    return Float32Array.from((await this.#server.ask("api/encode", file)).style);
  }

  async readLayout(file) {
    const found = await this.#server.ask("api/read_layout", file);
    return found.readings.map(({ how, runs }) => ({ how, ids: this.#ids(runs) }));
  }

  async landscape(seed) {
    return this.#ids((await this.#server.ask(`api/landscape?seed=${seed}`)).runs);
  }

  #ids(runs) {
    return decodeRuns(fromBase64(runs), this.model.width * this.model.height);
  }

  async #once(ids, style, classStyles) {
    const socket = await this.#connected(), number = ++this.#number;
    const { width, height } = this.model;
    const answer = new Promise((resolve, reject) => {
      this.#waiting = { number, resolve, reject };
    });
    socket.send(packLayout({ number, width, height, ids, style, classStyles }));
    const { png, refusal, milliseconds } = await answer;
    if (refusal) throw new Error(refusal);
    const blob = new Blob([png], { type: "image/png" });
    return { bitmap: await createImageBitmap(blob), png: blob, milliseconds };
  }

  async #connected() {
    if (this.#socket?.readyState === WebSocket.OPEN) return this.#socket;
    const protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(this.#server.address("api/live", protocol));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      const answer = unpackAnswer(data), waiting = this.#waiting;
      // One that is older was asked for by nobody who still waits.
      if (answer.number === waiting?.number) waiting.resolve(answer);
    };
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onclose = (event) => {
        const lost = new Error(event.code === TOO_MANY ? event.reason : "The server is away.");
        lost.isLost = true;
        reject(lost);
        this.#waiting?.reject(lost);
      };
    });
    this.#socket = socket;
    if (this.#wasLost) this.onchange("The server is back.");
    this.#wasLost = false;
    return socket;
  }
}
