// Messages of the WebSocket, as spade_jax/studio/protocol.py describes them.
import { encodeRuns } from "./ids.js";

const VERSION = 1, LAYOUT = 1, PICTURE = 1;

export function packLayout({ number, width, height, ids, style }) {
  const runs = encodeRuns(ids);
  const message = new DataView(new ArrayBuffer(12 + 4 * style.length + runs.length));
  message.setUint8(0, LAYOUT);
  message.setUint8(1, VERSION);
  [width, height, style.length].forEach((x, i) => message.setUint16(2 + 2 * i, x, true));
  message.setUint32(8, number, true);
  style.forEach((x, i) => message.setFloat32(12 + 4 * i, x, true));
  new Uint8Array(message.buffer).set(runs, 12 + 4 * style.length);
  return message.buffer;
}

export function unpackAnswer(buffer) {
  const message = new DataView(buffer), content = new Uint8Array(buffer, 12);
  const isPicture = message.getUint8(0) === PICTURE;
  return {
    number: message.getUint32(4, true),
    milliseconds: message.getFloat32(8, true),
    png: isPicture ? content : null,
    refusal: isPicture ? null : new TextDecoder().decode(content),
  };
}
