// Messages of the WebSocket, as spade_jax/studio/protocol.py describes them.
import { encodeRuns } from "./ids.js";

const VERSION = 2, LAYOUT = 1, PICTURE = 1;

// `classStyles` is a Map from ids to {style}.
export function packLayout({ number, width, height, ids, style, classStyles }) {
  const runs = encodeRuns(ids), length = 4 * style.length, own = classStyles.size;
  const end = 14 + length + own * (2 + length);
  const message = new DataView(new ArrayBuffer(end + runs.length));
  message.setUint8(0, LAYOUT);
  message.setUint8(1, VERSION);
  [width, height, style.length, own].forEach((x, i) => message.setUint16(2 + 2 * i, x, true));
  message.setUint32(10, number, true);
  let at = 14;
  const put = (numbers) => {
    numbers.forEach((x, i) => message.setFloat32(at + 4 * i, x, true));
    at += length;
  };
  put(style);
  for (const [id, given] of classStyles) {
    message.setUint16(at, id, true);
    at += 2;
    put(given.style);
  }
  new Uint8Array(message.buffer).set(runs, end);
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
